"""A process that talks to BMCs: ``python -m provisioner.bmc.worker``, with a SEQPACKET socket as stdin and stdout.

One JSON message a request, ``{id, op, protocol, address, port, user, password, certificate, args, seconds}``; one
an answer, ``{id, result}`` or ``{id, error: {kind, problem, remedy}}``, in the order in which they are ready. Each
request runs in a child forked from this warm process, because a second pyghmi session to the same BMC in one
process hangs, and one after a log-out fails: a process a job then, but what it needs is imported (half a second)
only once. SIGALRM ends a child whose time is over. Passwords come over stdin only. The end of stdin ends it all.
"""

import json
import os
import selectors
import signal
import sys
import traceback
from dataclasses import asdict, replace
from typing import Any

from provisioner.bmc.adapters import ADAPTERS, detected
from provisioner.bmc.session import Target
from provisioner.domain.bmc import BootDevice, Power
from provisioner.domain.errors import BmcError

Message = dict[str, Any]
_NICER = 5
_LONGEST = 1 << 16
"""Bytes of a request."""


def carry_out(request: Message) -> Message:
    """Do what the request asks. Raises BmcError."""
    args: Message = request.get("args") or {}
    target = Target(
        request["address"], request["port"], request["user"], request["password"], request["certificate"]
    )
    protocol, found = request["protocol"], {}
    if protocol == "auto":
        protocol, port = detected(target)
        target = replace(target, port=port)
        found = {"protocol": protocol, "port": port}
    if protocol != "ipmi" and not target.certificate and request["op"] not in ("identify", "chassis"):
        raise BmcError(
            "refused",
            f"the certificate of BMC {target.address} is not known yet",
            f"`provisioner bmc harvest {target.address}` pins it",
        )
    with ADAPTERS[protocol](target) as session:
        match request["op"]:
            case "identify":
                identity = session.identify()
                return {
                    "vendor": identity.vendor,
                    "model": identity.model,
                    "serial": identity.serial,
                    "uuid": str(identity.uuid) if identity.uuid else None,
                    "macs": [str(mac) for mac in identity.macs],
                    "notes": list(identity.notes),
                    "certificate": identity.certificate,
                    **found,
                }
            case "chassis":
                chassis = session.chassis()
                blades = [(b.number, b.bmc, [str(mac) for mac in b.macs], list(b.notes)) for b in chassis.blades]
                return {"blades": blades, "certificate": chassis.certificate}
            case "condition":
                return asdict(session.condition())
            case "power":
                return {"power": session.power(Power(args["operation"])).value}
            case "drives":
                return {"drives": [asdict(drive) for drive in session.drives(args["image"])]}
            case "boot-device":
                device = BootDevice(args["device"])
                session.set_boot_device(device, persistent=args["persistent"], uefi=args["uefi"])
                return {}
    raise BmcError("unsupported", f"operation {request['op']!r} is unknown to the worker", "update both halves")


def _child(request: Message) -> None:
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    try:
        answer: Message = {"id": request["id"], "result": carry_out(request)}
    except BmcError as error:
        told = {"kind": error.kind, "problem": error.problem, "remedy": error.remedy}
        answer = {"id": request["id"], "error": told}
    os.write(1, json.dumps(answer).encode())


def _outcome(request: Message, status: int) -> Message | None:
    """The answer for a child that ended without giving one."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return None
    where = f"BMC {request['address']}"
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        told = {
            "kind": "unreachable",
            "problem": f"{where} did not finish {request['op']} within {request['seconds']:g} s",
            "remedy": "look at the server, then try again",
        }
    else:
        told = {
            "kind": "garbage",
            "problem": f"{where} broke its client (status {status})",
            "remedy": "look at the service's log",
        }
    return {"id": request["id"], "error": told}


def main() -> None:
    """Serve requests, many at once, until stdin ends."""
    # Three hundred of these must not make a DHCP answer wait for its turn on the processor.
    os.nice(_NICER)
    jobs: dict[int, tuple[int, Message]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != 0:
                    selector.unregister(key.fd)
                    pid, request = jobs.pop(key.fd)
                    os.close(key.fd)
                    if answer := _outcome(request, os.waitpid(pid, 0)[1]):
                        os.write(1, json.dumps(answer).encode())
                elif message := os.read(0, _LONGEST):
                    request = json.loads(message)
                    pid = _fork(request)
                    # A file descriptor that becomes readable when the child ends (Linux 5.3).
                    watched = os.pidfd_open(pid)
                    jobs[watched] = (pid, request)
                    selector.register(watched, selectors.EVENT_READ)
                else:
                    for pid, _ in jobs.values():
                        os.kill(pid, signal.SIGKILL)
                    return


def _fork(request: Message) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        _child(request)
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        # Not sys.exit: pyghmi's thread would be joined.
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
