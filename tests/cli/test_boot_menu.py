"""Boot menus, live systems and saving with open eyes from the command line."""

import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

KEYS = json.dumps({"ssh_authorized_keys": ["ssh-ed25519 AAAA ada"]})
SUBNET = ("subnet", "set", "10.12.1.0/24")


@pytest.fixture
def node(run: Run, release: Path) -> str:
    run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1")
    run("image", "import", str(release), "--name", "flatcar")
    words = ("--name", "node-1", "--mac", "52:54:00:12:00:11", "--ip", "10.12.1.17", "--role", "simple")
    assert run("machine", "add", *words).code == 0
    return "node-1"


def test_a_menu_is_stated_shown_and_taken_away(run: Run, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("blue horse 7\n"))
    done = run(*SUBNET, "--menu", "rescue;worker", "--menu-seconds", "7", "--menu-password-stdin")
    assert "boot menu rescue;worker (password)" in done.out
    (shown,) = run("subnet", "list", "--json").json
    assert (shown["menu"], shown["menu_seconds"], shown["menu_password"]) == ("rescue;worker", 7, True)
    told = run("simulate", node)
    assert "menu: rescue, worker; 7 s, with a password" in told.out and "item -- rescue" in told.out
    assert run("machine", "set", node, "--menu", "none").code == 0
    assert "menu:" not in run("simulate", node).out
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    run(*SUBNET, "--menu-password-stdin")
    assert run("subnet", "list", "--json").json[0]["menu_password"] is False


@pytest.mark.parametrize(
    ("menu", "says"),
    [
        ("nothing", "menu 'nothing' is no role"),
        ("rescue;rescue", "is named twice"),
        ("none;rescue", "says none and more"),
        ("a b", "is no role"),
    ],
)
def test_a_menu_of_what_is_not_there_is_refused(run: Run, node: str, menu: str, says: str) -> None:
    refused = run(*SUBNET, "--menu", menu)
    assert (refused.code, says in refused.err) == (1, True)


def test_the_password_is_not_too_short_and_never_kept_as_it_is(
    run: Run, node: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert "is too short" in run(*SUBNET, "--menu-password-stdin").err
    monkeypatch.setattr("sys.stdin", io.StringIO("blue horse 7\n"))
    run(*SUBNET, "--menu", "rescue", "--menu-password-stdin")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("*.db*"))
    assert b"$argon2" in kept and b"blue horse" not in kept


def test_a_rescue_is_asked_for_and_taken_back(run: Run, node: str) -> None:
    assert run("machine", "rescue", node).out == "node-1: boots rescue once\n"
    assert run("machine", "show", node, "--json").json["live"] == "rescue"
    assert "node-1 boots into memory role rescue" in run("simulate", node).out
    assert run("machine", "rescue", node, "--cancel").out == "node-1: boots as planned\n"
    refused = run("machine", "rescue", node, "--role", "simple")
    assert (refused.code, "role simple installs" in refused.err) == (1, True)
    refused = run("machine", "rescue", node, "--power-cycle")
    assert (refused.code, "has no BMC" in refused.err) == (1, True)


def test_a_save_that_would_change_what_an_armed_machine_is_told_needs_its_plan(run: Run, node: str) -> None:
    assert run("machine", "arm", node).code == 0
    refused = run("machine", "set", node, "--params", KEYS)
    assert (refused.code, "this changes what node-1 (armed) would be told" in refused.err) == (1, True)
    shown = run("slot", "set", node, "--params", KEYS, "--diff")
    assert "node-1 (armed): 2 files differ" in shown.out and '+ssh_authorized_keys: ["ssh-ed25519' in shown.out
    plan = shown.out.rpartition("--plan ")[2].strip()
    assert run("machine", "show", node, "--json").json["params"] == {}
    assert run("machine", "set", node, "--params", KEYS, "--plan", plan).code == 0
    assert run("machine", "show", node, "--json").json["params"] == json.loads(KEYS)
    shown = run("machine", "set", node, "--params", '{"ssh_autorized_keys": []}', "--diff")
    assert (shown.code, "is no parameter of role simple" in shown.err) == (1, True)
