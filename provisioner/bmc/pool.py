"""The door to all BMCs: bounded in number and time, one operation a BMC at a time (fault-07, fault-08)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any
from uuid import UUID

from provisioner.bmc import scan
from provisioner.bmc.addresses import check_bmc_address, ours_towards
from provisioner.bmc.turns import Turns
from provisioner.domain.bmc import (
    Blade,
    Bmc,
    BootDevice,
    Chassis,
    Condition,
    Drive,
    Health,
    Identity,
    Login,
    Power,
    Reading,
    Sweep,
)
from provisioner.domain.errors import BmcError, InvalidValue
from provisioner.domain.mac import Mac

_SECONDS = {
    "identify": 30.0,
    "identify-https": 90.0,
    "chassis": 60.0,
    "condition": 60.0,
    "boot-device": 15.0,
    "drives": 90.0,
    "power": 60.0,
}
"""Deadline of each operation, login included. Big servers take half a minute to power off
(metal3-io/ironic-image#143); a Redfish identity is some thirty requests to a processor of a few hundred MHz; a BMC
looks at an image before it says that it is inserted."""
SERVER = "@@SERVER@@"
"""In an image's URL: the appliance, as the BMC reaches it."""
_STATUS_SECONDS = 15.0
_GRACE = 3.0
"""The worker ends an overdue job itself; if it has not by then, it is killed and replaced."""
_LONGEST = 1 << 18
"""Bytes of an answer."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
"""The worker's environment. Nothing else: the service's own may hold a database password."""


class _Overdue(Exception):
    """The worker gave no answer in time."""


class _Ended(Exception):
    """The worker died before it gave an answer, or was ended with all that it did."""


class _Worker:
    """One worker process. Threads may share it."""

    def __init__(self) -> None:
        # SEQPACKET keeps messages whole, whichever of the worker's children writes them.
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                # -P: nothing is imported from the directory that somebody happened to be in.
                [sys.executable, "-P", "-m", "provisioner.bmc.worker"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # its own group, so that its children can be killed with it
            )
        self._guard = threading.Lock()
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._dead = False
        self._reader = threading.Thread(target=self._read, name="bmc-answers", daemon=True)
        self._reader.start()

    @property
    def usable(self) -> bool:
        return not self._dead

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises _Overdue, _Ended."""
        answer: Future[dict[str, Any]] = Future()
        with self._guard:
            if self._dead:
                raise _Ended
            self._asked[request["id"]] = answer
        try:
            self._socket.send(json.dumps(request).encode())
            return answer.result(seconds)
        except TimeoutError:
            raise _Overdue from None
        except OSError:
            raise _Ended from None
        finally:
            with self._guard:
                self._asked.pop(request["id"], None)

    def _read(self) -> None:
        # What is no message at all comes from a worker that is not one: it counts as dead.
        with suppress(OSError, ValueError):
            while message := self._socket.recv(_LONGEST):
                answer: dict[str, Any] = json.loads(message)
                with self._guard:
                    waiting = self._asked.pop(answer["id"], None)
                if waiting is not None:
                    waiting.set_result(answer)
        with self._guard:
            self._dead = True
            left = list(self._asked.values())
            self._asked.clear()
        for waiting in left:
            waiting.set_exception(_Ended())

    def end(self) -> None:
        """Kill it with whatever it is doing; safe to call twice and from another thread."""
        with self._guard:
            self._dead = True
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()


class WorkerPool:
    """Implements ``domain.ports.BmcPort`` for all adapters. Threads may share it; calls block.

    The worker process starts when first needed. ``allow_loopback`` is for tests.
    """

    def __init__(self, size: int = 32, *, allow_loopback: bool = False, between: float = 0.1) -> None:
        """``size``: operations at once, each a short-lived child of the worker.

        ``between``: seconds a BMC is left alone between two operations (BMCs hang under polling)."""
        self._allow_loopback = allow_loopback
        self._turns = Turns(size, between)
        self._guard = threading.Lock()
        self._current: _Worker | None = None
        self._ids = count(1)
        self._closed = False

    def identify(self, bmc: Bmc, login: Login) -> Identity:
        told = self._call(
            bmc, login, "identify", {}, _SECONDS["identify" if bmc.protocol == "ipmi" else "identify-https"]
        )
        return Identity(
            vendor=told["vendor"],
            model=told["model"],
            serial=told["serial"],
            uuid=UUID(told["uuid"]) if told["uuid"] else None,
            macs=tuple(Mac.parse(mac) for mac in told["macs"]),
            notes=tuple(told["notes"]),
            certificate=told["certificate"],
            protocol=told.get("protocol", ""),
            port=told.get("port", 0),
        )

    def chassis(self, bmc: Bmc, login: Login) -> Chassis:
        told = self._call(bmc, login, "chassis", {}, _SECONDS["chassis"])
        blades = (
            Blade(number, at, tuple(Mac.parse(mac) for mac in macs), tuple(notes))
            for number, at, macs, notes in told["blades"]
        )
        return Chassis(tuple(blades), told["certificate"])

    def condition(self, bmc: Bmc, login: Login) -> Condition:
        told = self._call(bmc, login, "condition", {}, _SECONDS["condition"])
        readings = (Reading(**{**each, "health": Health(each["health"])}) for each in told["readings"])
        return Condition(Health(told["health"]), tuple(readings), tuple(told["notes"]))

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        seconds = _STATUS_SECONDS if operation is Power.STATUS else _SECONDS["power"]
        return Power(self._call(bmc, login, "power", {"operation": operation.value}, seconds)["power"])

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None:
        args = {"device": device.value, "persistent": persistent, "uefi": uefi}
        self._call(bmc, login, "boot-device", args, _SECONDS["boot-device"])

    def drives(self, bmc: Bmc, login: Login, image: str | None = None) -> Sequence[Drive]:
        if image and SERVER in image:
            image = image.replace(SERVER, ours_towards(bmc.address))
        told = self._call(bmc, login, "drives", {"image": image}, _SECONDS["drives"])
        return [Drive(each["name"], tuple(each["kinds"]), each["image"]) for each in told["drives"]]

    def scan(self, addresses: Sequence[str]) -> Sweep:
        """Asked from this process: there is no login in it that could hang or leak, and no pyghmi."""
        asked: list[str] = []
        left_out: list[tuple[str, str]] = []
        for address in addresses:
            try:
                asked.append(str(check_bmc_address(address, allow_loopback=self._allow_loopback)))
            except InvalidValue as refused:
                left_out.append((address, refused.problem))
        return Sweep(tuple(scan.sweep(asked) if asked else ()), tuple(left_out))

    def close(self) -> None:
        """End all workers; calls under way raise BmcError."""
        with self._guard:
            self._closed = True
            worker, self._current = self._current, None
        if worker is not None:
            worker.end()

    def _call(self, bmc: Bmc, login: Login, op: str, args: dict[str, Any], seconds: float) -> dict[str, Any]:
        address = str(check_bmc_address(bmc.address, "bmc", allow_loopback=self._allow_loopback))
        request = {
            "id": next(self._ids),
            "op": op,
            "protocol": bmc.protocol,
            "address": address,
            "port": bmc.port,
            "user": login.user,
            "password": login.password,
            "certificate": bmc.certificate,
            "args": args,
            "seconds": seconds,
        }
        with self._turns.at(address, bmc.port):
            worker = self._worker(address)
            try:
                answer = worker.ask(request, seconds + _GRACE)
            except _Overdue:
                worker.end()
                raise BmcError(
                    "unreachable", f"BMC {address} did not finish {op} within {seconds:g} s", "try again"
                ) from None
            except _Ended:
                worker.end()
                raise BmcError(
                    "unreachable",
                    f"BMC {address}: the process that asked it for {op} ended",
                    "see the log; try again",
                ) from None
        if told := answer.get("error"):
            raise BmcError(told["kind"], told["problem"], told["remedy"])
        result: dict[str, Any] = answer["result"]
        return result

    def _worker(self, address: str) -> _Worker:
        with self._guard:
            if self._closed:
                raise BmcError("unreachable", f"BMC {address} was not asked: the service is stopping", "try again")
            if self._current is None or not self._current.usable:
                if self._current is not None:
                    self._current.end()
                self._current = _Worker()
            return self._current
