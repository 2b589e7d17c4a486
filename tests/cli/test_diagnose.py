"""``provisioner diagnose`` as somebody on the night shift types it."""

from pathlib import Path

from tests.cli.conftest import Run


def listed(run: Run, *more: str) -> None:
    assert run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1").code == 0
    words = ("machine", "add", "--name", "node-01", "--mac", "52:54:00:00:00:01", *more)
    assert run(*words).code == 0


def test_what_lacks_is_said_with_the_command_that_gives_it(run: Run) -> None:
    listed(run)
    told = run("diagnose", "node-01")
    assert told.code == 1
    assert "node-01 is new" in told.out
    assert "a netboot now gets: nothing" in told.out
    assert "in the way: no address is listed for it: `provisioner machine set node-01 --ip ADDRESS`" in told.out
    assert "in the way: it has no role: `provisioner machine set node-01 --role ROLE`" in told.out


def test_a_missing_image_shows_before_anybody_arms(run: Run) -> None:
    listed(run, "--ip", "10.12.1.11", "--role", "simple")
    told = run("diagnose", "node-01", "--json")
    assert (told.code, told.json["state"], told.json["needs_somebody"]) == (1, "ready", True)
    (obstacle,) = told.json["obstacles"]
    assert obstacle.startswith("it could not be armed: ")
    assert "installs image flatcar, which is not imported" in obstacle
    assert "provisioner image import" in obstacle


def test_an_armed_machine_is_given_time_and_then_it_is_said_who_waits_for_what(run: Run, release: Path) -> None:
    listed(run, "--ip", "10.12.1.11", "--role", "simple")
    assert run("image", "import", str(release), "--name", "flatcar").code == 0
    assert run("machine", "arm", "node-01").code == 0
    told = run("diagnose", "node-01")
    assert told.code == 0, told.out
    assert "node-01 is armed" in told.out
    assert "expected next: a DHCP request from 52:54:00:00:00:01" in told.out
    assert "what happened, newest first:" in told.out


def test_an_unlisted_machine_is_no_stack_trace(run: Run) -> None:
    told = run("diagnose", "node-99")
    assert (told.code, told.err) == (
        1,
        "provisioner: no machine 'node-99'; `provisioner machine list` shows what there is\n",
    )
