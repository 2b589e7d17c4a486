"""``provisioner slot``: a place before its machine, with it, with another board, and after it."""

from tests.cli.conftest import Run


def test_a_slot_by_command(run: Run) -> None:
    assert "provisioner slot add node-17" in run("slot", "list").out
    words = ("--ip", "10.12.1.17", "--role", "simple", "--rack", "r1", "--unit", "17")
    added = run("slot", "add", "node-17", *words)
    assert (added.code, added.out) == (0, "node-17: rack r1, unit 17, address 10.12.1.17, role simple\n"), added.err
    assert run("slot", "set", "node-17", "--cluster", "core").code == 0
    assert "empty" in run("slot", "list").out
    made = run("machine", "add", "--name", "node-17", "--mac", "52:54:00:00:00:17")
    assert made.out == "node-17: MAC 52:54:00:00:00:17, address 10.12.1.17, role simple; ready\n"
    assert run("slot", "list", "--empty", "--json").json == []
    assert "provisioner machine remove node-17" in run("slot", "remove", "node-17").err
    replaced = run("slot", "replace", "node-17", "--mac", "52:54:00:00:00:99")
    assert replaced.out == "node-17: MAC 52:54:00:00:00:99, 10.12.1.17; ready\n", replaced.err
    assert run("machine", "remove", "node-17").code == 0
    shown = run("slot", "show", "node-17", "--json").json
    assert (shown["ip"], shown["cluster"], shown["machine_id"]) == ("10.12.1.17", "core", "")
    assert run("slot", "remove", "node-17").code == 0
    assert "no slot 'node-17'" in run("slot", "show", "node-17").err


def test_a_machines_place_can_be_kept(run: Run) -> None:
    assert run("machine", "add", "--name", "n", "--mac", "52:54:00:00:00:17", "--ip", "10.12.1.17").code == 0
    assert run("machine", "remove", "n", "--keep-slot").code == 0
    assert [row["name"] for row in run("slot", "list", "--empty", "--json").json] == ["n"]
