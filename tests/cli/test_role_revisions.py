"""A role is edited: what it would change is looked at, put in force by the plan's hash, compared, taken back."""

import re
import shutil
from pathlib import Path

import pytest

from tests.boot.rack import SHIPPED
from tests.cli.conftest import Run


@pytest.fixture
def roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of roles of its own."""
    folder = tmp_path / "roles"
    for name in ("_shared", "simple"):
        shutil.copytree(SHIPPED / name, folder / name)
    monkeypatch.setenv("PROVISIONER_CLOUD_CONFIGS", str(folder))
    return folder


def edit(roles: Path, old: str, new: str, file: str = "simple/config.yml.j2") -> None:
    text = (roles / file).read_text()
    assert old in text
    (roles / file).write_text(text.replace(old, new))


def rack(run: Run, release: Path) -> None:
    run("subnet", "add", "10.12.1.0/24")
    run("image", "import", str(release), "--name", "flatcar")
    for number in (1, 2):
        run("machine", "add", "--name", f"node-0{number}", "--mac", f"52:54:00:00:00:0{number}", "--role", "simple",
            "--ip", f"10.12.1.1{number}")  # fmt: skip
    run("machine", "add", "--name", "bare", "--mac", "52:54:00:00:00:09", "--role", "simple")


def plan_hash(out: str) -> str:
    (found,) = re.findall(r"^plan ([0-9a-f]{16});", out, re.MULTILINE)
    return str(found)


def test_an_edit_is_looked_at_put_in_force_and_taken_back(run: Run, roles: Path, release: Path) -> None:
    rack(run, release)
    assert run("machine", "arm", "node-01").code == 0
    assert "0 of 3 machines change" in run("role", "diff", "simple").out
    first = run("role", "revisions", "simple", "--json").json
    assert [(row["number"], row["machines"], row["is"]) for row in first] == [(1, 1, "active, folder")]

    # What is in force stays in force while the folder is edited: it was activated by its plan.
    looked = run("role", "diff", "simple").out
    done = run("role", "activate", "simple", "--plan", plan_hash(looked))
    assert done.out.startswith(f"role simple: revision {first[0]['revision'][:12]} is active")
    edit(roles, "hostname: {{ machine.name|yaml }}", "hostname: {{ (machine.name ~ '-x')|yaml }}")
    assert 'hostname: "node-02"' in run("role", "render", "node-02").out

    looked = run("role", "diff", "simple").out
    assert f"node-01: armed, revision 1 ({first[0]['revision'][:12]}), role now at revision" in looked
    assert '        -hostname: "node-01"\n        +hostname: "node-01-x"\n' in looked
    assert "REVISION" in looked, "the revision itself, which stands in a comment, is no difference"
    assert "bare: new" in looked
    assert "not ready to be told anything: machine bare has no address" in looked
    assert "2 of 3 machines change" in looked
    assert "config.yml" in run("role", "diff", "simple", "--summary").out
    assert '-x"' not in run("role", "diff", "simple", "--summary").out
    compared = run("role", "compare", "simple", "1").out
    assert "+hostname: {{ (machine.name ~ '-x')|yaml }}" in compared
    assert "-hostname" in compared

    stale = run("role", "activate", "simple", "--plan", "0" * 16)
    assert stale.code == 1
    assert f"the plan of role simple is {plan_hash(looked)} by now, not {'0' * 16}" in stale.err
    assert run("role", "activate", "simple", "--plan", plan_hash(looked)).code == 0
    assert 'hostname: "node-02-x"' in run("role", "render", "node-02").out
    assert "armed" in run("machine", "show", "node-01").out, "what is armed keeps what was frozen for it"

    back = run("role", "diff", "simple", "--to", "1", "--json").json
    # node-01 is armed with revision 1 still: only node-02 would be told something else.
    assert [(m["name"], sorted(m["files"])) for m in back["machines"]] == [
        ("bare", []),
        ("node-01", []),
        ("node-02", ["config.yml"]),
    ]
    assert run("role", "activate", "simple", "--plan", back["hash"], "--to", "1").code == 0
    assert 'hostname: "node-02"' in run("role", "render", "node-02").out
    assert [row["is"] for row in run("role", "revisions", "simple", "--json").json] == ["active", "folder"]
    assert run("role", "follow", "simple").code == 0
    assert 'hostname: "node-02-x"' in run("role", "render", "node-02").out


def test_what_does_not_validate_for_every_machine_is_not_put_in_force(run: Run, roles: Path, release: Path) -> None:
    rack(run, release)
    run("machine", "set", "node-02", "--labels", "zone=a b")
    edit(roles, "hostname: {{ machine.name|yaml }}", "hostname: {{ machine.labels.get('zone', 'ok')|yaml }}")
    looked = run("role", "diff", "simple", "--json")
    assert (looked.code, looked.json["valid"]) == (1, False)
    (problem,) = [machine["problem"] for machine in looked.json["machines"] if machine["problem"]]
    assert "node-02: simple, rendered config.yml:3: hostname: 'a b' is not a host name" in problem
    refused = run("role", "activate", "simple", "--plan", looked.json["hash"])
    assert refused.code == 1
    assert "does not validate for node-02" in refused.err
    assert "does not validate for node-02" in run("role", "follow", "simple").err


def test_a_revision_that_is_not_kept_is_named_with_the_command_that_lists_them(
    run: Run, roles: Path, release: Path
) -> None:
    rack(run, release)
    assert (
        "`provisioner role revisions simple` lists what is kept" in run("role", "diff", "simple", "--to", "7").err
    )
    assert "none was used yet" in run("role", "revisions", "simple").out
    assert "no role 'simpel'" in run("role", "diff", "simpel").err


def test_what_a_role_needs_is_shown_with_the_command_that_gets_it(run: Run, roles: Path, tmp_path: Path) -> None:
    with (roles / "simple" / "role.yaml").open("a") as file:
        file.write("payload:\n  - {path: tools/agent, dest: /opt/agent}\n")
    shown = run("role", "show", "simple").out
    assert "image       flatcar (missing; `provisioner image import DIR --name flatcar`)" in shown
    add = "`provisioner payload add FILE --path tools/agent`"
    assert f"payload     tools/agent -> /opt/agent (missing; {add})" in shown
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    assert run("payload", "add", str(tmp_path / "agent"), "--path", "tools/agent").code == 0
    state = run("role", "show", "simple", "--json").json["payload_state"]
    assert state == [{"path": "tools/agent", "dest": "/opt/agent", "state": "there"}]
    assert "ran" in run("role", "list").out
