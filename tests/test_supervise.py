"""Services that end by themselves are started again, whatever else goes wrong; the others go on meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Supervises four programs that only tell their pid; one of them, images, also that it goes on. argv: folder, the
# program that runs them, and the seconds of silence after which one of them hangs.
SUPERVISOR = """
import sys
from pathlib import Path
from provisioner import supervise
folder, program = Path(sys.argv[1]), sys.argv[2]
service = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
alive = (
    "import os, sys, time; from provisioner.readiness import tell_alive; tell_alive();"
    "open(sys.argv[1], 'w').write(str(os.getpid()))\\n"
    "while True: time.sleep(0.1); tell_alive()"
)
supervise.command = lambda name, *_: [program, "-c", alive if name == "images" else service, str(folder / name)]
supervise._HANGS_AFTER = float(sys.argv[3])
def failed(name, how):
    with (folder / "failed").open("a") as told:
        told.write(f"{name} {how}\\n")
    if name == "bmc":
        raise RuntimeError("nobody can be told")
raise SystemExit(supervise.run(None, None, (), failed, lambda: None))
"""


@contextmanager
def supervised(folder: Path, hangs_after: int = 60) -> Iterator[Path]:
    program = folder / "program"
    program.symlink_to(sys.executable)
    with (folder / "log").open("wb") as log:
        argv = [sys.executable, "-c", SUPERVISOR, str(folder), str(program), str(hangs_after)]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        for name in ("packets", "web", "images", "bmc"):
            until(lambda name=name: pid(folder, name))
        yield program
        assert process.poll() is None, "the supervisor goes on"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def pid(folder: Path, name: str) -> int:
    try:
        return int((folder / name).read_text() or 0)
    except FileNotFoundError:
        return 0


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def killed(folder: Path, name: str) -> int:
    was = pid(folder, name)
    (folder / name).unlink()
    os.kill(was, signal.SIGKILL)
    return was


def test_a_service_that_is_killed_is_started_again_and_the_others_stay(tmp_path: Path) -> None:
    with supervised(tmp_path):
        others = {name: pid(tmp_path, name) for name in ("web", "images", "bmc")}
        was = killed(tmp_path, "packets")
        until(lambda: pid(tmp_path, "packets") not in (0, was))
        assert {name: pid(tmp_path, name) for name in others} == others
        assert (tmp_path / "failed").read_text() == "packets ended by itself (exit -9)\n"


def test_a_service_that_hangs_is_killed_and_started_again_and_who_never_told_is_not_judged(tmp_path: Path) -> None:
    with supervised(tmp_path, hangs_after=4):
        others = {name: pid(tmp_path, name) for name in ("packets", "web", "bmc")}
        was = pid(tmp_path, "images")
        os.kill(was, signal.SIGSTOP)
        until(lambda: pid(tmp_path, "images") not in (0, was))
        assert {name: pid(tmp_path, name) for name in others} == others
        assert (tmp_path / "failed").read_text() == "images gave no sign of life for 4 s and was killed\n"


def test_an_end_that_cannot_be_recorded_is_mended_all_the_same(tmp_path: Path) -> None:
    with supervised(tmp_path):
        was = killed(tmp_path, "bmc")
        until(lambda: pid(tmp_path, "bmc") not in (0, was))


def test_a_program_that_is_away_for_a_moment_ends_nobody_else(tmp_path: Path) -> None:
    """As while a package is upgraded, or when there is no memory for another process."""
    with supervised(tmp_path) as program:
        web = pid(tmp_path, "web")
        program.unlink()
        was = killed(tmp_path, "images")
        until(lambda: "service cannot be started" in (tmp_path / "log").read_text())
        program.symlink_to(sys.executable)
        until(lambda: pid(tmp_path, "images") not in (0, was))
        assert pid(tmp_path, "web") == web
