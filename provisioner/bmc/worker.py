"""A process that talks to BMCs: ``python -m provisioner.bmc.worker``, with a SEQPACKET socket as stdin and stdout.

One JSON message a request, ``{id, op, address, port, user, password, args, seconds}``, one an answer,
``{id, result}`` or ``{id, error: {kind, problem, remedy}}``, in the order in which they are ready. Each request
runs in a child forked from this warm process, because a second pyghmi session to the same BMC in one process hangs,
and one after a log-out fails: a process a job then, but pyghmi is imported (half a second, 35 MB) only once.
SIGALRM ends a child whose time is over. Passwords come over stdin only. The end of stdin ends it all.
"""

import json
import os
import selectors
import signal
import sys
import traceback
from typing import Any

from provisioner.bmc import ipmi
from provisioner.domain.bmc import BootDevice, Power
from provisioner.domain.errors import BmcError

Message = dict[str, Any]
_LONGEST = 1 << 16
"""Bytes of a request."""


def carry_out(request: Message) -> Message:
    """Do what the request asks. Raises BmcError."""
    args: Message = request.get("args") or {}
    with ipmi.session(request["address"], request["port"], request["user"], request["password"]) as command:
        match request["op"]:
            case "identify":
                found = ipmi.identify(command)
                return {
                    "vendor": found.vendor,
                    "model": found.model,
                    "serial": found.serial,
                    "uuid": str(found.uuid) if found.uuid else None,
                    "macs": [str(mac) for mac in found.macs],
                    "notes": list(found.notes),
                }
            case "power":
                return {"power": ipmi.power(command, Power(args["operation"])).value}
            case "boot-device":
                device = BootDevice(args["device"])
                ipmi.set_boot_device(command, device, persistent=args["persistent"], uefi=args["uefi"])
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
            "problem": f"{where} broke the IPMI client (status {status})",
            "remedy": "look at the service's log",
        }
    return {"id": request["id"], "error": told}


def main() -> None:
    """Serve requests, many at once, until stdin ends."""
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
