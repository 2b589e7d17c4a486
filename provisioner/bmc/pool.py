"""The door to all BMCs: bounded in processes and time, one operation a BMC at a time (fault-07, fault-08)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any
from uuid import UUID

from provisioner.bmc.addresses import check_bmc_address
from provisioner.domain.bmc import Bmc, BootDevice, Identity, Login, Power
from provisioner.domain.errors import BmcError
from provisioner.domain.mac import Mac

_SECONDS = {"identify": 30.0, "boot-device": 15.0, "power": 60.0}
"""Deadline of each operation, login included. Big servers take half a minute to power off
(metal3-io/ironic-image#143)."""
_STATUS_SECONDS = 15.0
_GRACE = 3.0
"""A worker ends an overdue job itself; one that has not by then is killed and replaced."""
_QUEUE_SECONDS = 180.0
"""How long a call waits for its turn behind others."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
"""The worker's environment. Nothing else: the service's own may hold a database password."""


class _Overdue(Exception):
    """The worker gave no answer: too late, or dead."""


class _Worker:
    """One worker process; one request at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "provisioner.bmc.worker"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # its own group, so that its child can be killed with it
            )
        self._buffer = b""

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises _Overdue."""
        until = time.monotonic() + seconds
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while b"\n" not in self._buffer:
                self._socket.settimeout(max(0.001, until - time.monotonic()))
                if not (data := self._socket.recv(65536)):
                    raise _Overdue
                self._buffer += data
        except OSError:
            raise _Overdue from None
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Kill it with whatever it is doing; safe to call twice and from another thread."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._socket.close()


class WorkerPool:
    """Implements ``domain.ports.BmcPort`` for IPMI. Threads may share it; calls block.

    Workers start when first needed, ``size`` at most. ``allow_loopback`` is for tests.
    """

    def __init__(self, size: int = 4, *, allow_loopback: bool = False, between: float = 0.1) -> None:
        """``between``: seconds a BMC is left alone between two operations (BMCs hang under polling)."""
        self._allow_loopback = allow_loopback
        self._between = between
        self._places = threading.BoundedSemaphore(size)
        self._guard = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._turns: dict[str, threading.Lock] = {}
        self._ids = count(1)
        self._closed = False

    def identify(self, bmc: Bmc, login: Login) -> Identity:
        told = self._call(bmc, login, "identify", {}, _SECONDS["identify"])
        return Identity(
            vendor=told["vendor"],
            model=told["model"],
            serial=told["serial"],
            uuid=UUID(told["uuid"]) if told["uuid"] else None,
            macs=tuple(Mac.parse(mac) for mac in told["macs"]),
            notes=tuple(told["notes"]),
        )

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        seconds = _STATUS_SECONDS if operation is Power.STATUS else _SECONDS["power"]
        return Power(self._call(bmc, login, "power", {"operation": operation.value}, seconds)["power"])

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None:
        args = {"device": device.value, "persistent": persistent, "uefi": uefi}
        self._call(bmc, login, "boot-device", args, _SECONDS["boot-device"])

    def close(self) -> None:
        """End all workers; calls under way raise BmcError."""
        with self._guard:
            self._closed = True
            workers = list(self._all)
        for worker in workers:
            worker.end()

    def _call(self, bmc: Bmc, login: Login, op: str, args: dict[str, Any], seconds: float) -> dict[str, Any]:
        if bmc.protocol != "ipmi":
            raise BmcError(
                "unsupported", f"BMC {bmc.address} speaks {bmc.protocol}, which is not built in", "set it to ipmi"
            )
        address = str(check_bmc_address(bmc.address, "bmc", allow_loopback=self._allow_loopback))
        request = {
            "id": next(self._ids),
            "op": op,
            "address": address,
            "port": bmc.port,
            "user": login.user,
            "password": login.password,
            "args": args,
            "seconds": seconds,
        }
        with self._turn(f"{address} {bmc.port}"), self._worker(address) as worker:
            try:
                answer = worker.ask(request, seconds + _GRACE)
            except _Overdue:
                worker.end()
                raise BmcError(
                    "unreachable", f"BMC {address} did not finish {op} within {seconds:g} s", "try again"
                ) from None
        if told := answer.get("error"):
            raise BmcError(told["kind"], told["problem"], told["remedy"])
        result: dict[str, Any] = answer["result"]
        return result

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._guard:
            turn = self._turns.setdefault(key, threading.Lock())
        if not turn.acquire(timeout=_QUEUE_SECONDS):
            raise BmcError("unreachable", f"BMC {key} is busy with other operations", "try again later")
        try:
            yield
            if self._between:
                time.sleep(self._between)
        finally:
            turn.release()

    @contextmanager
    def _worker(self, address: str) -> Iterator[_Worker]:
        if not self._places.acquire(timeout=_QUEUE_SECONDS):
            raise BmcError(
                "unreachable",
                f"BMC {address} was not asked: all workers are busy",
                "try again when the job before ends",
            )
        try:
            with self._guard:
                if self._closed:
                    raise BmcError(
                        "unreachable", f"BMC {address} was not asked: the service is stopping", "try again"
                    )
                worker = self._idle.pop() if self._idle else _Worker()
                self._all.add(worker)
            sound = False
            try:
                yield worker
                sound = True
            finally:
                with self._guard:
                    if sound and not self._closed:
                        self._idle.append(worker)
                    else:
                        self._all.discard(worker)
                if not sound:
                    worker.end()
        finally:
            self._places.release()
