"""The named commands and settings: what they print, what they refuse, how they exit."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.actions import newcomers
from provisioner.cli.app import COMMANDS, whole
from provisioner.domain.events import Sighting
from provisioner.domain.mac import Mac
from provisioner.settings import Settings
from provisioner.wiring import House
from tests.cli.conftest import Run

CSV = "name,mac,ip,role,rack,unit,bmc,labels\nnode-01,52:54:00:00:00:01,10.12.1.11,simple,r1,1,,site=zh\n"


def listed(run: Run) -> None:
    assert run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1", "--dns", "10.12.1.1").code == 0
    added = run(
        "machine", "add", "--name", "node-01", "--mac", "5254.0000.0001", "--ip", "10.12.1.11", "--role", "simple"
    )
    assert (added.code, added.out.strip()) == (
        0,
        "node-01: MAC 52:54:00:00:00:01, address 10.12.1.11, role simple; ready",
    )


@pytest.mark.parametrize("after", [False, True], ids=["before-the-verb", "after-the-verb"])
def test_config_may_stand_before_or_after_the_verb(run: Run, tmp_path: Path, after: bool) -> None:
    config = tmp_path / "other.toml"
    config.write_text(f"data_dir = {json.dumps(str(tmp_path / 'elsewhere'))}\n")
    words = ["subnet", "list", "--json"]
    given = ["--config", str(config)]
    # The environment overrides the file: it is unset here, so that the file is seen to be read.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PROVISIONER_DATA_DIR")
        done = run(*([*words, *given] if after else [*given, *words]))
    assert (done.code, done.json) == (0, [])
    assert (tmp_path / "elsewhere" / "provisioner.db").exists()


def test_an_unknown_setting_is_named_with_the_known_ones(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "p.toml"
    config.write_text('data_dri = "/x"\n')
    done = run("--config", str(config), "machine", "list")
    assert done.code == 1
    assert "setting 'data_dri'" in done.err
    assert "known settings: address, arm_hours" in done.err


def test_an_empty_list_teaches_the_next_step(run: Run) -> None:
    assert "provisioner machine add --name node-01 --mac" in run("machine", "list").out
    assert "provisioner subnet add 10.12.1.0/24" in run("subnet", "list").out
    assert "provisioner image import DIR --name flatcar" in run("image", "list").out
    assert "provisioner bmc add ADDRESS" in run("bmc", "list").out


def test_dhcp_options_are_stated_shown_taken_away_and_exported(run: Run) -> None:
    listed(run)
    routes = "classless-routes=10.0.0.0/8 via 10.12.1.9"
    assert run("subnet", "set", "10.12.1.0/24", "--option", "mtu=1400", "--option", routes).code == 0
    assert run("subnet", "set", "10.12.1.0/24", "--option", "mtu=").code == 0
    shown = run("subnet", "list", "--json").json[0]["options"]
    assert shown == {"classless-routes": "10.0.0.0/8 via 10.12.1.9"}
    set_ = run("machine", "set", "node-01", "--option", "mtu=9000", "--option", "224=text:hi")
    assert (set_.code, set_.err) == (0, "")
    stated = {"mtu": "9000", "224": "hex:6869"}
    assert run("machine", "show", "node-01", "--json").json["options"] == stated
    assert json.dumps(stated, sort_keys=True).replace('"', '""') in run("machine", "export").out
    assert run("machine", "set", "node-01", "--option", "224=", "--role", "worker").code == 0
    assert run("machine", "show", "node-01", "--json").json["options"] == {"mtu": "9000"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["subnet", "set", "10.12.1.0/24", "--option", "dns=10.12.1.2"],
         "option 'dns=10.12.1.2' has a field of its own in a subnet, dns; use --dns; a role or machine may"),
        (["subnet", "set", "10.12.1.0/24", "--option", "classless-routes=10.0.0.0/8 via 10.13.0.1"],
         "cannot be used: 10.13.0.1 is not in 10.12.1.0/24; name a router of this subnet"),
        (["subnet", "set", "10.12.1.0/24", "--option", "mtu"], "option 'mtu' has no '='; write it like mtu=9000"),
        (["machine", "set", "node-01", "--option", "mtu=1"], "option 'mtu=1' is no MTU from 576 to 65535; "
         "write it like mtu=9000"),
        (["machine", "set", "node-01", "--option", "67=text:x"], "the boot file follows from the firmware"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_sent_is_refused(run: Run, words: list[str], said: str) -> None:
    listed(run)
    refused = run(*words)
    assert refused.code == 1
    assert said in refused.err.replace("\n", " ")


def test_a_machine_that_came_by_itself_is_approved_with_role_and_address(run: Run, tmp_path: Path) -> None:
    run("subnet", "add", "10.12.1.0/24", "--unknown", "approve")
    sighting = Sighting(Mac.parse("52:54:00:aa:00:01"), "dhcp", 1, "PXE on eth1", "approve")
    with House.open(Settings(data_dir=tmp_path / "data")) as house, house.store.transaction("packets") as tx:
        newcomers.list_seen(tx, [sighting])
    name = "server-525400aa0001"
    assert run("machine", "show", name, "--json").json["approved"] is False
    refused = run("machine", "approve", name, "--role", "nothing")
    assert (refused.code, "role 'nothing' does not exist" in refused.err) == (1, True)
    done = run("machine", "approve", name, "--name", "node-30", "--role", "simple", "--ip", "10.12.1.30")
    assert (done.code, done.out) == (0, "node-30: ready, has a role and an address\n")
    again = run("machine", "approve", "node-30")
    assert (again.code, again.err) == (1, "provisioner: machine node-30 needs no approval; it is ready already\n")


def test_import_and_export_round_trip_through_files(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rack.csv"
    file.write_text(CSV)
    assert run("machine", "import", str(file)).out == "1 added, 0 changed, 0 unchanged\n"
    assert run("machine", "import", str(file)).out == "0 added, 0 changed, 1 unchanged\n"
    exported = run("machine", "export").out
    assert exported == CSV
    yaml = tmp_path / "rack.yaml"
    yaml.write_text(run("machine", "export", "--format", "yaml").out)
    assert run("machine", "import", str(yaml), "--json").json == {"added": [], "changed": [], "unchanged": 1}
    file.write_text(CSV + "node-02,nonsense,,,,,,\n")
    done = run("machine", "import", str(file))
    assert done.code == 1
    assert "line 3: mac 'nonsense' is not a MAC address" in done.err


def test_a_role_is_rendered_for_a_machine_and_nothing_is_stored(run: Run, release: Path) -> None:
    listed(run)
    assert "flatcar 1.2.3: 4 files" in run("image", "import", str(release), "--name", "flatcar").out
    config = run("role", "render", "node-01")
    assert config.code == 0
    assert config.out.startswith("#cloud-config\n")
    assert 'hostname: "node-01"' in config.out
    script = run("role", "render", "node-01", "--part", "script").out
    assert "initrd=flatcar_production_pxe_image.cpio.gz" in script
    assert run("machine", "show", "node-01", "--json").json["state"] == "ready"
    soup = run("role", "render", "node-01", "--part", "soup")
    assert "role simple has no part soup; it has boot.grub, boot.ipxe" in soup.err
    ignition = run("role", "render", "node-01", "--part", "ignition")
    assert (ignition.code, "role simple has no part ignition; it has" in ignition.err) == (1, True)


def test_simulate_tells_that_the_first_power_on_installs(run: Run, release: Path) -> None:
    listed(run)
    assert run("subnet", "set", "10.12.1.0/24", "--arm", "on-discovery").code == 0
    refused = run("simulate", "node-01", "--json").json
    assert (refused["action"], "cannot be armed" in refused["reason"]) == ("disk", True)
    run("image", "import", str(release), "--name", "flatcar")
    told = run("simulate", "node-01", "--json").json
    assert (told["state"], told["action"], told["ends"]) == ("ready", "install", "active")
    assert "@@INSTALL_TOKEN@@" in told["boot_script"]
    assert run("machine", "show", "node-01", "--json").json["state"] == "ready", "looking arms nothing"


def test_arm_disarm_and_simulate_tell_what_a_boot_would_get(run: Run, release: Path) -> None:
    listed(run)
    refused = run("machine", "arm", "node-01")
    assert (refused.code, "provisioner image import" in refused.err) == (1, True)
    run("image", "import", str(release), "--name", "flatcar")
    assert run("simulate", "node-01", "--json").json["action"] == "disk"
    assert run("machine", "arm", "node-01").out == "node-01: armed, armed for role simple\n"
    told = run("simulate", "52:54:00:00:00:01", "--json").json
    assert (told["state"], told["action"]) == ("armed", "install")
    assert "@@INSTALL_TOKEN@@" in told["boot_script"], "the token itself is never shown"
    used = run("image", "remove", "flatcar", "1.2.3")
    assert "is used by the install of node-01" in used.err
    assert run("machine", "disarm", "node-01").out == "node-01: ready, disarmed\n"
    assert "is used by role " in run("image", "remove", "flatcar", "1.2.3").err
    assert run("image", "remove", "flatcar", "1.2.3", "--force").code == 0
    messages = [event["message"] for event in run("machine", "events", "node-01", "--json").json]
    assert "ready → armed: armed for role simple" in messages
    assert "armed → ready: disarmed" in messages


def test_allocate_shows_a_plan_and_applies_exactly_that_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1")
    for number in (1, 2):
        run("machine", "add", "--name", f"server-{number}", "--mac", f"52:54:00:00:00:0{number}")
    words = (
        "allocate",
        "plan",
        "10.12.1.0/24",
        "--first",
        "10.12.1.10",
        "--name",
        "node-{index:02}",
        "--role",
        "simple",
    )
    table = run(*words).out
    assert "next free address in slot order, place 1" in table
    plan = run(*words, "--json").out
    file = tmp_path / "plan.json"
    file.write_text(plan)
    assert run("allocate", "apply", str(file)).out.splitlines()[-1] == "2 machines changed"
    rows = run("machine", "list", "--json").json
    assert [(row["name"], row["ip"], row["state"]) for row in rows] == [
        ("node-01", "10.12.1.10", "ready"),
        ("node-02", "10.12.1.11", "ready"),
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(plan.encode())))
    again = run("allocate", "apply", "-")
    assert (again.code, "the inventory changed since this plan was made" in again.err) == (1, True)


def test_a_bmcs_password_comes_by_standard_input_and_is_shown_nowhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert run("bmc", "add", "10.12.200.17", "--user", "admin", "--password-stdin").code == 0
    assert run("bmc", "list", "--json").json[0]["login"] == "admin"
    shown = run("bmc", "list").out + run("machine", "events").out
    assert "correct horse" not in shown
    for file in (tmp_path / "data").glob("provisioner.db*"):
        assert b"correct horse" not in file.read_bytes()
    loopback = run("bmc", "add", "127.0.0.1")
    assert "address '127.0.0.1' cannot be a BMC's" in loopback.err


def test_users_and_tokens_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough password\n"))
    assert run("user", "add", "ops", "--password-stdin").out == "user ops added\n"
    secret = run("token", "create", "ci", "--user", "ops").out.strip()
    assert len(secret) >= 43
    assert run("token", "list", "--json").json[0]["name"] == "ci"
    assert secret not in run("token", "list").out
    assert run("token", "revoke", "ci").code == 0
    assert run("token", "revoke", "ci").code == 1


def test_every_command_shows_an_example_in_its_help() -> None:
    leaves = list(leaves_of("provisioner", whole()))
    assert len(leaves) > 80
    for path, command in leaves:
        assert "Example: " in (command.epilog or ""), path


def leaves_of(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves_of(f"{path} {name}", inner)


def test_the_help_says_of_a_command_what_the_command_says_of_itself(run: Run) -> None:
    listed = run("--help").out
    commands = whole().commands
    for name, sentence in COMMANDS.items():
        told = (commands[name].help or "").partition("\n\n")[0]
        assert " ".join(told.split()) == sentence, name
        assert f" {name} " in listed


@pytest.mark.parametrize("words", [["--help"], ["macine"]], ids=" ".join)
def test_what_needs_no_inventory_loads_none_of_it(words: list[str]) -> None:
    code = (
        "import atexit, sys; from provisioner.cli.app import main; "
        f"atexit.register(lambda: print(*sys.modules)); main({words})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "provisioner.cli.app" in modules
    assert modules.isdisjoint({"sqlalchemy", "fastapi", "cryptography", "provisioner.wiring"})
