"""Templates rendered in a process that can be killed.

The worker starts with the first template, is reused, and is replaced after a kill. Rendering is bounded in
time and size: a template that loops forever is an error that names it, not an appliance that stands still.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from provisioner.domain.errors import Refused

SECONDS = 2.0
MAX_BYTES = 1024 * 1024
_GRACE_SECONDS = 1.0
"""The worker's own alarm names the line; the kill is for what does not listen to an alarm."""
_START_SECONDS = 60.0
"""Starting Python on a busy machine is slow, and no template's fault."""
_MAX_REVISIONS = 200
_PACKAGE_ROOT = str(Path(__file__).parents[2])


class TemplateRefused(Refused):
    """A template that cannot be rendered, with its place."""

    def __init__(self, role: str, file: str, line: int | None, why: str) -> None:
        self.role, self.file, self.line = role, file, line
        place = f"{role}/{file}" if line is None else f"{role}/{file}:{line}"
        super().__init__(
            f"template {place}: {why}", f"correct it and check with `provisioner role validate {role}`"
        )


class Renderer:
    """Owns one worker process. Safe to call from several threads; they wait for each other."""

    def __init__(self, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._pid = 0

    def render(self, role: str, templates: Mapping[str, str], name: str, context: Mapping[str, Any]) -> str:
        """The text of template ``name``; the others may be included by it. Raises TemplateRefused."""
        return self.render_all(role, templates, [name], context)[name]

    def render_all(
        self,
        role: str,
        templates: Mapping[str, str],
        names: Sequence[str],
        context: Mapping[str, Any],
        revision: str = "",
    ) -> dict[str, str]:
        """The texts of the templates ``names``, in one go. Raises TemplateRefused for the first that fails.

        ``context`` is plain data (what JSON can carry); ``cluster.machines`` becomes its member functions.
        ``revision`` names the content of ``templates``: the worker compiles them once for each.
        """
        request = {
            "revision": revision,
            "names": list(names),
            "context": context,
            "seconds": self._seconds,
            "max_bytes": self._max_bytes,
        }
        with self._lock:
            answer = self._exchange(request, templates)
        if answer is None:
            raise TemplateRefused(role, names[0], None, f"did not end within {self._seconds:g} s and was killed")
        if "error" in answer:
            raise TemplateRefused(role, answer["file"] or names[0], answer["line"], answer["error"])
        return dict(answer["texts"])

    def close(self) -> None:
        """End the worker; a later ``render`` starts another."""
        with self._lock:
            self._kill()

    def _exchange(self, request: Mapping[str, Any], templates: Mapping[str, str]) -> dict[str, Any] | None:
        """The worker's answer, or None if it had to be killed."""
        try:
            self._send(request, templates)
        except BrokenPipeError:  # it died between two requests (out of memory, an operator): that is no fault
            self._kill()
            self._send(request, templates)
        line = self._read_line(self._seconds + _GRACE_SECONDS)
        if line is None:
            self._kill()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, request: Mapping[str, Any], templates: Mapping[str, str]) -> None:
        worker, revision = self._running(), request["revision"]
        known = bool(revision) and revision in worker.known
        if not known and len(worker.known) >= _MAX_REVISIONS:  # an edited role leaves its revisions behind
            self._kill()
            worker = self._running()
        line = json.dumps({**request, "templates": None if known else dict(templates)})
        worker.requests.write(line.encode() + b"\n")
        worker.requests.flush()
        worker.known.add(revision)

    def _running(self) -> "_Worker":
        # A forked child must not share its parent's worker: their answers would mix.
        if self._worker is not None and self._pid == os.getpid() and self._worker.process.poll() is None:
            return self._worker
        self._kill()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "provisioner.boot.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Nothing of this process's environment (which may hold settings) is within a template's reach.
            env={"PYTHONPATH": _PACKAGE_ROOT, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
        )
        worker = _Worker(process, cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout), set())
        self._worker, self._pid = worker, os.getpid()
        self._end = weakref.finalize(self, _end, worker)
        if self._read_line(_START_SECONDS) != b"ready\n":
            self._kill()
            raise Refused("the template worker did not start", "the service's error output says why")
        return worker

    def _kill(self) -> None:
        if self._end is not None and self._pid == os.getpid():
            self._end()
        elif self._end is not None:
            self._end.detach()
        self._worker = self._end = None

    def _read_line(self, seconds: float) -> bytes | None:
        """One line from the worker, or None at the deadline or its end."""
        if self._worker is None:
            return None
        answers = self._worker.answers.fileno()
        # poll(), not select(): select fails past file descriptor 1023.
        poller = select.poll()
        poller.register(answers, select.POLLIN)
        deadline = time.monotonic() + seconds
        received = bytearray()
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                return None
            piece = os.read(answers, 1 << 20)
            if not piece:
                return None
            received += piece
        return bytes(received)


class _Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]
    known: set[str]
    """The revisions whose templates it has."""


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    # What is still buffered for a dead worker cannot be written; that is no news.
    with suppress(BrokenPipeError):
        worker.requests.close()
    worker.answers.close()
