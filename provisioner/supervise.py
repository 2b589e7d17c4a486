"""``serve`` without ``--only``: one process a service, watched and restarted.

A fault in the page must not stop DHCP, and rendering must not delay an OFFER (measured: p99 0.4 ms in a process
of its own, 10.8 ms beside one rendering thread).
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from provisioner.domain.errors import Refused
from provisioner.readiness import Awaited
from provisioner.stopping import stop_on_signals

SERVICES = ("packets", "web", "images", "bmc")
_GRACE = 15.0
"""Seconds that a service has to end by itself after SIGTERM: TFTP transfers drain."""
_SLOWEST_RESTART = 30.0
_STEADY = 60.0
"""A service that ran so long starts again at once when it fails."""
_HANGS_AFTER = 60.0
"""Seconds without a word from a service that said before that it goes on (``readiness.tell_alive``)."""
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger()


@dataclass(slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    started: float
    answer: Awaited
    wait: float = 0.5

    def ended(self) -> str:
        """How; empty: it has not. One that hangs is killed."""
        code = self.process.poll()
        if code is None:
            alive_at = self.answer.alive_at
            if alive_at is None or time.monotonic() - alive_at < _HANGS_AFTER:
                return ""
            self.process.kill()
            self.process.wait()
            return f"gave no sign of life for {_HANGS_AFTER:.0f} s and was killed"
        return f"ended by itself (exit {code})"


def command(service: str, config: Path | None, interface: str | None) -> list[str]:
    """The argv that runs one service with the same settings."""
    # -P: not what a folder called provisioner in the current one holds.
    argv = [sys.executable, "-P", "-m", "provisioner"]
    if config:
        argv += ["--config", str(config)]
    argv += ["serve", "--only", service]
    if interface:
        argv += ["--interface", interface]
    return argv


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Only one supervisor a data directory: a second would start services over and over whose ports are taken.

    Raises Refused. The kernel gives the lock back however this process ends.
    """
    with (data_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"Provisioner serves from {data_dir} already",
                "stop that one (Ctrl-C, or `systemctl stop provisioner.target`), or set another data_dir",
            ) from error
        yield


def run(
    config: Path | None,
    interface: str | None,
    inherited: Sequence[int],
    failed: Callable[[str, str], None],
    ready: Callable[[], None],
) -> int:
    """Run all services until SIGTERM or SIGINT. ``failed(service, how)`` is told of every unexpected end,
    ``ready()`` once, when all answer."""
    stop = threading.Event()
    stop_on_signals(stop.set)
    silent = set(SERVICES)
    children = {name: _start(name, config, interface, inherited) for name in SERVICES}
    due: dict[str, tuple[float, float]] = {}
    try:
        while not stop.wait(0.2):
            for child in children.values():
                child.answer.listen()
            heard = {name for name in silent if name in children and children[name].answer.ready}
            silent -= heard
            if heard and not silent:
                ready()
            for name, child in list(children.items()):
                if not (how := child.ended()):
                    continue
                del children[name]
                child.answer.close()
                _told(failed, name, how)
                steady = time.monotonic() - child.started > _STEADY
                wait = 0.5 if steady else child.wait
                log.error("service ended", service=name, how=how, again_in=wait)
                due[name] = (time.monotonic() + wait, min(wait * 2, _SLOWEST_RESTART))
            for name, (at, wait) in list(due.items()):
                if time.monotonic() < at:
                    continue
                try:
                    children[name] = _start(name, config, interface, inherited)
                except OSError:
                    # No memory to fork, or an upgrade that has the program in its hands: the others go on.
                    log.exception("service cannot be started", service=name, again_in=wait)
                    due[name] = (time.monotonic() + wait, min(wait * 2, _SLOWEST_RESTART))
                else:
                    del due[name]
                    children[name].wait = wait
    finally:
        _end(list(children.values()))
    return 0


def _told(failed: Callable[[str, str], None], name: str, how: str) -> None:
    try:
        failed(name, how)
    except Exception:
        # Who cannot be told must not keep the service from being started again.
        log.exception("the end of a service could not be recorded", service=name)


def _start(name: str, config: Path | None, interface: str | None, inherited: Sequence[int]) -> _Child:
    answer = Awaited()
    manager = {"NOTIFY_SOCKET": answer.address, "WATCHDOG_USEC": str(int(_HANGS_AFTER * 1_000_000))}
    try:
        process = subprocess.Popen(
            command(name, config, interface),
            env={**os.environ, **manager},
            stdin=subprocess.DEVNULL,
            pass_fds=inherited if name == "web" else (),
            preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509 - two system calls, no lock is taken
        )
    except OSError:
        answer.close()
        raise
    return _Child(name, process, time.monotonic(), answer)


def _end_with_parent(parent: int) -> Callable[[], None]:
    """A service must not outlive its supervisor, even one that was killed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)

    return ask


def _end(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.terminate()
    until = time.monotonic() + _GRACE
    for child in children:
        try:
            child.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("service does not end, killed", service=child.name)
            child.process.kill()
            child.process.wait()
