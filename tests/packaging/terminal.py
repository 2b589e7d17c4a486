"""A terminal in a chroot: what is typed, what is shown, how long it took, and Ctrl-C as a keyboard sends it."""

import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import pexpect

from tests.packaging.chroot import Chroot

_PROMPT = r"\[exit (\d+)\] # "
_CTRL_C = "\x03"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\x00-\x09\x0b-\x1f]")


class Transcript:
    """What a person would have seen, each command with its seconds, kept on disk as it goes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path = path
        path.write_text("")
        self._began = time.monotonic()

    def note(self, line: str) -> None:
        with self._path.open("a") as out:
            out.write(f"{time.monotonic() - self._began:7.1f}  {line}\n")

    def text(self) -> str:
        """All of it, so far."""
        return self._path.read_text()

    def show(self, text: str) -> None:
        for line in _CONTROLS.sub("", text).splitlines():
            if line.strip():
                self.note(f"    {line.rstrip()}")


class Machine:
    """A chroot whose processes see one another, as on a machine: one process namespace for all its terminals."""

    def __init__(self, chroot: Chroot, transcript: Transcript, within: Sequence[str] = ()) -> None:
        """``within``: argv prefix of the network namespace that it lives in; none is this machine's own."""
        self._chroot = chroot
        self._transcript = transcript
        # Its first process: when that is killed, the kernel ends all others.
        self._first = subprocess.Popen([*within, *chroot.argv("sleep", "infinity")], stdin=subprocess.DEVNULL)
        self._open: list[Terminal] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self._open:
            terminal.close()
        self._first.kill()
        self._first.wait(30)

    def _pid(self) -> str:
        """Of the first process inside, once it runs there."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            children = subprocess.run(
                ["ps", "-o", "pid=,comm=", "--ppid", str(self._first.pid)],
                capture_output=True, text=True, timeout=10, check=False,
            ).stdout.split()  # fmt: skip
            if children[1:] == ["sleep"]:
                return children[0]
            time.sleep(0.05)
        raise AssertionError("the chroot's first process does not run")

    def terminal(self, cwd: str, name: str = "") -> "Terminal":
        """Open one; ``name`` tells it from others in the transcript."""
        variables = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "PS1": "[exit $?] # ", **self._chroot.env,
        }  # fmt: skip
        argv = [
            *("nsenter", "--target", self._pid(), "--mount", "--pid", "--net", "--"),
            *("chroot", str(self._chroot.root), "/usr/bin/env", "-i", "-C", cwd),
            *(f"{key}={value}" for key, value in variables.items()),
            *("bash", "--norc", "--noprofile", "--noediting", "-i"),
        ]
        opened = Terminal(argv, self._transcript, name)
        self._open.append(opened)
        return opened


class Terminal:
    """One bash on a pseudo-terminal."""

    def __init__(self, argv: Sequence[str], transcript: Transcript, name: str = "") -> None:
        self._transcript = transcript
        self._name = f"({name}) " if name else ""
        self._child = pexpect.spawn(argv[0], list(argv[1:]), encoding="utf-8", echo=False, dimensions=(50, 110))
        self._child.expect(_PROMPT, timeout=30)

    def type(self, line: str, seconds: float = 120, code: int | None = 0) -> str:
        """Type a line, wait for the prompt; what was shown. ``code``: the exit code it must have; None: any."""
        self.begin(line)
        return self.prompt(line, seconds, code)

    def begin(self, line: str) -> None:
        """Type a line and don't wait."""
        self._transcript.note(f"{self._name}# {line}")
        self._typed = time.monotonic()
        self._child.sendline(line)

    def prompt(self, line: str, seconds: float, code: int | None = 0) -> str:
        """Wait for the prompt after ``line``; what was shown until then."""
        self.see(_PROMPT, seconds)
        shown = str(self._child.before)
        told = int(self._child.match.group(1))
        self._transcript.note(f"    -> exit {told}, {time.monotonic() - self._typed:.1f} s")
        assert code in {None, told}, f"{line}: exit {told}\n{shown}"
        return shown

    def see(self, pattern: str, seconds: float) -> None:
        """Wait until this is shown; the transcript gets all that came before it."""
        until = time.monotonic() + seconds
        shown = ""
        while True:
            try:
                found = self._child.expect([pattern, "\n"], timeout=max(0.1, until - time.monotonic()))
            except (pexpect.TIMEOUT, pexpect.EOF) as ended:
                raise AssertionError(
                    f"{pattern!r} not seen in {seconds:g} s:\n{shown}{self._child.before}"
                ) from ended
            shown += str(self._child.before) + ("" if found == 0 else "\n")
            self._transcript.show(str(self._child.before))
            if found == 0:
                self._child.before = shown
                return

    def interrupt(self) -> None:
        """Ctrl-C, to whatever runs in front."""
        self._transcript.note(f"{self._name}^C")
        self._typed = time.monotonic()
        self._child.send(_CTRL_C)

    def close(self) -> None:
        with suppress(pexpect.ExceptionPexpect):
            self._child.close(force=True)
