"""IPMI 2.0 over pyghmi: one session, one operation, log out.

Only the worker imports this file: pyghmi keeps process-wide threads and sockets, so it runs in a process that ends
with the job. pyghmi's exceptions are translated here and nowhere else. Sections are of the IPMI 2.0 specification.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from pyghmi.exceptions import IpmiException, PyghmiException
from pyghmi.ipmi import fru as pyghmi_fru
from pyghmi.ipmi.command import Command

from provisioner.bmc import oem, rmcp
from provisioner.bmc.fru import custom_fields, first, host_macs
from provisioner.bmc.guid import system_uuid
from provisioner.bmc.session import Target
from provisioner.domain.bmc import BootDevice, Chassis, Condition, Drive, Health, Identity, Power, Reading
from provisioner.domain.errors import BmcError, InvalidValue
from provisioner.domain.mac import Mac

CHASSIS, APPLICATION, STORAGE, TRANSPORT = 0x00, 0x06, 0x0A, 0x0C

_PROBE_TRIES = (1.0, 1.5, 2.0)
"""Seconds to wait after each try; a BMC that is waking up misses the first."""

_FRU_BLOCK = 16
"""Bytes per Read FRU Data: simple BMCs answer longer reads with 'length limit exceeded'."""
_FRU_LIMIT = 4096
"""No FRU inventory is longer; a bigger claim is nonsense that must not cost a thousand reads."""
_MORE_FRUS = range(1, 8)
"""Where add-in cards' FRUs are found, looked at only if FRU 0 names no MAC."""

_POLL = 0.5
"""Seconds between looks at the power state: slower than any BMC's firmware, faster than a person."""
_CONTROL = {Power.OFF: 0, Power.ON: 1, Power.RESET: 3}
"""Chassis Control (§28.3)."""
_BOOT_SELECTOR = {
    BootDevice.DEFAULT: 0b0000,
    BootDevice.NETWORK: 0b0001,
    BootDevice.DISK: 0b0010,
    BootDevice.CD: 0b0101,
    BootDevice.SETUP: 0b0110,
}
"""Boot flags, data 2 (table 28-14)."""


@contextmanager
def session(address: str, port: int, user: str, password: str) -> Iterator[Command]:
    """A logged-in session, closed afterwards (BMCs have a handful of slots). Raises BmcError."""
    probe(address, port)
    with translated(address, user):
        command = Command(bmc=address, userid=user, password=password, port=port)
        try:
            yield command
        finally:
            with suppress(Exception):  # the job is done; a BMC that won't hang up times the session out itself
                command.ipmi_session.logout()


@contextmanager
def opened(target: Target) -> Iterator["Ipmi"]:
    """As ``session``, behind the adapters' common face."""
    with session(target.address, target.port, target.user, target.password) as command:
        yield Ipmi(command, target.address)


class Ipmi:
    """Implements ``session.Session``."""

    def __init__(self, command: Command, address: str) -> None:
        self._command = command
        self._address = address

    def identify(self) -> Identity:
        return identify(self._command)

    def power(self, operation: Power) -> Power:
        return power(self._command, operation)

    def set_boot_device(self, device: BootDevice, *, persistent: bool, uefi: bool) -> None:
        set_boot_device(self._command, device, persistent=persistent, uefi=uefi)

    def condition(self) -> Condition:
        return condition(self._command)

    def drives(self, image: str | None) -> list[Drive]:
        raise BmcError(
            "unsupported",
            f"BMC {self._address} speaks IPMI, which has no virtual media",
            f"if it speaks Redfish, too: `provisioner bmc add {self._address} --protocol redfish`; else boot from "
            "the network",
        )

    def chassis(self) -> Chassis:
        raise BmcError(
            "unsupported",
            f"BMC {self._address} speaks IPMI, which tells no blades",
            "list a chassis manager as protocol cmm",
        )


def probe(address: str, port: int) -> None:
    """Tell nobody there, nobody listening and not-a-BMC apart, which pyghmi reports alike, and late.

    Raises BmcError.
    """
    where = f"BMC {address} port {port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as door:
        try:
            door.connect((address, port))
            for wait in _PROBE_TRIES:
                door.settimeout(wait)
                door.send(rmcp.CAPABILITIES)
                with suppress(TimeoutError):
                    answer = door.recv(512)
                    break
            else:
                raise BmcError(
                    "unreachable",
                    f"{where} does not answer",
                    "check its address, cable and VLAN, and that IPMI is on",
                )
        except ConnectionRefusedError:
            raise BmcError(
                "refused",
                f"{where}: nothing listens there",
                "switch IPMI over LAN on in the BMC, or correct the port",
            ) from None
        except OSError as error:
            raise BmcError("unreachable", f"{where}: {error.strerror}", "check address and routing") from None
    if not rmcp.is_capabilities(answer):
        raise BmcError(
            "garbage", f"{where} answers, but not in IPMI", "something else lives there; correct the address"
        )


_LOGIN_WORDS: tuple[tuple[str, str, str], ...] = (
    (
        "incorrect password",
        "wrong-password",
        "correct the credential with `provisioner bmc add`; it is not tried again",
    ),
    (
        "unauthorized name",
        "wrong-password",
        "this user does not exist there, or is disabled: correct the credential",
    ),
    (
        "invalid user name",
        "wrong-password",
        "this user does not exist there, or is disabled: correct the credential",
    ),
    ("integrity check value", "wrong-password", "correct the credential with `provisioner bmc add`"),
    ("integrity code", "wrong-password", "correct the password, or the BMC's K_g key"),
    ("no slot available", "session-limit", "wait a minute for old sessions to end, or close them in the BMC"),
    ("privilege", "privilege-too-low", "give this user operator or administrator rights in the BMC"),
    ("invalid role", "privilege-too-low", "give this user operator or administrator rights in the BMC"),
    ("insufficient resources", "session-limit", "wait a minute for old sessions to end, or close them in the BMC"),
    ("login slots", "session-limit", "wait a minute for old sessions to end, or close them in the BMC"),
    ("algorithm", "unsupported", "enable cipher suite 3 or 17 in the BMC"),
    ("cipher suite", "unsupported", "enable cipher suite 3 or 17 in the BMC"),
    ("invalid command", "unsupported", "this BMC cannot do that; do it by hand"),
    ("not supported", "unsupported", "the server's present state does not allow it; look at its power state"),
    ("unavailable", "unsupported", "switch the function on in the BMC"),
    ("sol is disabled", "unsupported", "switch serial over LAN on in the BMC"),
    ("sol session", "session-limit", "end the other console first"),
    ("timeout", "unreachable", "check cable and load of the BMC, then try again"),
    ("no longer connected", "unreachable", "try again; if it stays, restart the BMC"),
    ("failed to initialize", "unreachable", "try again; if it stays, restart the BMC"),
    ("busy", "unreachable", "wait a little and try again"),
)


@contextmanager
def translated(address: str, user: str) -> Iterator[None]:
    """Turn whatever pyghmi raises into a BmcError. What is none of its own exceptions came from odd bytes."""
    try:
        yield
    except BmcError:
        raise
    except (PyghmiException, OSError) as error:
        said = str(error)
        if said in ("", "None"):  # pyghmi has no words for a login that nobody finished
            said = "no longer connected: it broke the login off"
        for words, kind, remedy in _LOGIN_WORDS:
            if words in said.lower():
                raise BmcError(kind, f"BMC {address}, user {user}: {said}", remedy) from None
        raise BmcError("unsupported", f"BMC {address} says: {said}", "look at the BMC's own log") from None
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BmcError(
            "garbage",
            f"BMC {address} sent what is not IPMI ({type(error).__name__})",
            "restart the BMC or update it",
        ) from None
    except Exception as error:  # struct.error and what else a parser lets through
        raise BmcError(
            "garbage", f"BMC {address} sent unreadable bytes ({type(error).__name__})", "restart it"
        ) from None


def _raw(command: Command, netfn: int, number: int, data: Sequence[int] = ()) -> bytes:
    answer = command.raw_command(netfn=netfn, command=number, data=tuple(data))
    if "error" in answer:
        raise IpmiException(answer["error"], code=answer.get("code", 0))
    return bytes(answer["data"])


def power(command: Command, operation: Power, sleep: Callable[[float], None] = time.sleep) -> Power:
    """Carry it out and wait until it shows. The caller's deadline ends a wait that never does."""
    state = _power_state(command)
    match operation:
        case Power.STATUS:
            return state
        case Power.CYCLE:
            # Off and on in two steps, because a BMC's own cycle shows "on" before, while and after it works.
            if state is Power.ON:
                _switch(command, Power.OFF, sleep)
                sleep(1)
            return _switch(command, Power.ON, sleep)
        case Power.RESET:
            if state is Power.OFF:
                raise BmcError("unsupported", "a server that is off cannot be reset", "power it on instead")
            _raw(command, CHASSIS, 2, [_CONTROL[Power.RESET]])
            return _power_state(command)
        case _:
            return state if state is operation else _switch(command, operation, sleep)


def _power_state(command: Command) -> Power:
    return Power.ON if _raw(command, CHASSIS, 1)[0] & 1 else Power.OFF


def _switch(command: Command, wanted: Power, sleep: Callable[[float], None]) -> Power:
    _raw(command, CHASSIS, 2, [_CONTROL[wanted]])
    while (state := _power_state(command)) is not wanted:
        sleep(_POLL)
    return state


def set_boot_device(command: Command, device: BootDevice, *, persistent: bool, uefi: bool) -> None:
    """Set System Boot Options (§28.12), parameter 5."""
    # Keep the flags valid past the 60-second timeout (parameter 3, bit 3); BMCs without it keep them anyway.
    with suppress(IpmiException):
        _raw(command, CHASSIS, 8, [3, 8])
    flags = 0 if device is BootDevice.DEFAULT else 0x80 | persistent << 6 | uefi << 5
    _raw(command, CHASSIS, 8, [5, flags, _BOOT_SELECTOR[device] << 2, 0, 0, 0])


def condition(command: Command) -> Condition:
    """The sensors of the SDR repository (§33), as pyghmi judges them; where they end, a note says why."""
    readings: list[Reading] = []
    notes: tuple[str, ...] = ()
    try:
        for sensor in command.get_sensor_data():
            if not sensor.unavailable:
                state = ", ".join(map(str, sensor.states))
                value = None if sensor.value is None else round(float(sensor.value), 3)
                readings.append(
                    Reading(str(sensor.name), value, str(sensor.units or ""), _health(sensor.health), state)
                )
    except Exception as error:  # one odd record ends pyghmi's list; what came before it is good
        notes = (f"sensors cannot be read further: {str(error) or type(error).__name__}",)
    order = list(Health)
    worst = max((reading.health for reading in readings), key=order.index, default=Health.UNKNOWN)
    return Condition(worst, tuple(readings), notes)


def _health(flags: int) -> Health:
    """pyghmi's bits: 1 warning, 2 critical, 4 failed."""
    return Health.CRITICAL if flags & 0b110 else Health.WARNING if flags & 1 else Health.OK


def identify(command: Command) -> Identity:
    """Read what can be read; what cannot is a note, not a failure."""
    notes: list[str] = []
    uuid = _uuid(command, notes)
    own = _own_mac(command)
    info: dict[str, Any] = _fru(command, 0, notes)
    macs, left_out = host_macs(custom_fields(info), own)
    if not macs:
        macs = [mac for mac in _oem_macs(command, notes) if mac != own]
    for number in () if macs else _MORE_FRUS:
        more, more_left_out = host_macs(custom_fields(_fru(command, number, [])), own)
        macs += [mac for mac in more if mac not in macs]
        left_out += more_left_out
    if not macs:
        notes.append(
            "no FRU or vendor command names the server's MACs; they come from its first DHCP request, or enter them"
        )
    return Identity(
        vendor=first(info, "Manufacturer", "Board manufacturer"),
        model=first(info, "Product name", "Model", "Board product name"),
        serial=first(info, "Serial Number", "Chassis serial number", "Board serial number"),
        uuid=uuid,
        macs=tuple(macs),
        notes=(*notes, *left_out),
    )


def _oem_macs(command: Command, notes: list[str]) -> list[Mac]:
    """By the maker's own commands, where they are known."""
    try:
        number = oem.maker(_raw(command, APPLICATION, 0x01))
        return oem.macs(number, lambda *words: _raw(command, *words), command.get_inventory)
    except Exception as error:  # pyghmi's OEM parsers let anything through; FRUs and UUID must not be hidden by it
        notes.append(f"the maker's own MAC command fails: {str(error) or type(error).__name__}")
        return []


def _fru(command: Command, number: int, notes: list[str]) -> dict[str, Any]:
    """The decoded fields of one FRU; empty, with a note, when it cannot be read or decoded."""
    try:
        size = min(int.from_bytes(_raw(command, STORAGE, 0x10, [number])[:2], "little"), _FRU_LIMIT)
        raw = bytearray()
        while len(raw) < size:
            block = min(_FRU_BLOCK, size - len(raw))
            answer = _raw(command, STORAGE, 0x11, [number, len(raw) & 0xFF, len(raw) >> 8, block])
            if len(answer) < 2:
                break
            raw += answer[1:]
    except IpmiException as error:
        notes.append(f"FRU {number} cannot be read: {error}")
        return {}
    try:
        return dict(pyghmi_fru.FRU(rawdata=raw).info or {})
    except Exception as error:  # a half-written FRU must not hide UUID and power
        notes.append(f"FRU {number} cannot be decoded ({type(error).__name__})")
        return {}


def _own_mac(command: Command) -> Mac | None:
    """The BMC's own MAC: LAN parameter 5 (§23.2), of the channel this session uses."""
    try:
        return Mac.from_wire(_raw(command, TRANSPORT, 0x02, [0x0E, 5, 0, 0])[1:7])
    except (IpmiException, InvalidValue):
        return None


def _uuid(command: Command, notes: list[str]) -> UUID | None:
    try:
        uuid, note = system_uuid(_raw(command, APPLICATION, 0x37)[:16])
    except IpmiException as error:
        uuid, note = None, f"system UUID cannot be read: {error}"
    if note:
        notes.append(note)
    return uuid
