"""One BMC of the lab: Debian's ``ipmi_sim`` with a FRU that names the machine's MAC, as real vendors' do."""

import subprocess
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from provisioner.domain.errors import Refused
from provisioner.domain.mac import Mac
from provisioner.lab.programs import inside

_LAN = """name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{chassis}"{sol}
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""

_EMU = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 100 0x0a
mc_set_guid 0x20 {guid}
mc_add_fru_data 0x20 0 {size} file 0 "{fru}"
{sensors}mc_enable 0x20
"""


@dataclass(frozen=True)
class Nameplate:
    """What the FRU says about the server."""

    vendor: str
    product: str
    serial: str
    uuid: UUID
    mac: Mac


def fru_bytes(plate: Nameplate) -> bytes:
    """A FRU with board and product area (Platform Management FRU 1.2, §8, §11, §12); the MAC is the board's custom
    field, spelled ``MAC 52:54:…``."""
    board = _area(
        bytes([1, 0, 0, 0, 0, 0])  # version, length filled in, language English, no date
        + b"".join(_field(text) for text in (plate.vendor, plate.product, plate.serial, "", "", f"MAC {plate.mac}"))
    )
    product = _area(
        bytes([1, 0, 0])
        + b"".join(_field(text) for text in (plate.vendor, plate.product, "", "", plate.serial, "", ""))
    )
    header = bytes([1, 0, 0, 1, 1 + len(board) // 8, 0, 0])
    return header + _checksum(header) + board + product


def _field(text: str) -> bytes:
    """Type/length byte and 8-bit ASCII; a text of one character would read as the end mark (0xC1)."""
    data = (text + " " if len(text) == 1 else text).encode("ascii")[:63]
    return bytes([0xC0 | len(data)]) + data


def _area(content: bytes) -> bytes:
    length = -(-(len(content) + 2) // 8)  # the end mark and the checksum included
    padded = (content[:1] + bytes([length]) + content[2:] + b"\xc1").ljust(length * 8 - 1, b"\0")
    return padded + _checksum(padded)


def _checksum(data: bytes) -> bytes:
    return bytes([-sum(data) & 0xFF])


class VirtualBmc:
    """A BMC at ``address``; it runs whether its machine is on or off."""

    def __init__(
        self,
        plate: Nameplate,
        address: IPv4Address,
        *,
        namespace: str | None,
        directory: Path,
        user: str,
        password: str,
        chassis: Path,
        port: int = 623,
        serial: str = "",
        sensors: str = "",
    ) -> None:
        """``namespace``: None runs it where the caller is. ``chassis``: the program for chassis commands.

        ``serial``: what its console shows, a device or ``tcp:ADDRESS:PORT``; empty: it has none.
        ``sensors``: lines for the simulator, which has none by itself.
        """
        self._sensors = sensors
        self._serial = serial
        self.address = address
        self.port = port
        self._namespace = namespace
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._plate = plate
        self._user = user
        self._password = password
        self._chassis = chassis

    def start(self) -> None:
        directory = self._directory
        directory.mkdir(parents=True, exist_ok=True)
        fru = fru_bytes(self._plate)
        (directory / "fru.bin").write_bytes(fru)
        # As SMBIOS writes it, which is what most BMCs return.
        guid = self._plate.uuid.bytes_le.hex()
        lan = directory / "lan.conf"
        lan.touch(0o600)
        lan.write_text(
            _LAN.format(
                name=self._plate.serial,
                address=self.address,
                port=self.port,
                guid=guid,
                chassis=self._chassis,
                sol=f'\n  sol "{self._serial}" 115200' if self._serial else "",
                user=self._user,
                password=self._password,
            )
        )
        (directory / "bmc.emu").write_text(
            _EMU.format(guid=guid, size=len(fru), fru=directory / "fru.bin", sensors=self._sensors)
        )
        argv = ["ipmi_sim", "-n", "-c", str(lan), "-f", str(directory / "bmc.emu"), "-s", str(directory / "state")]
        with (directory / "ipmi_sim.log").open("ab") as log:
            self._process = subprocess.Popen(
                inside(self._namespace, argv) if self._namespace else argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, until: float) -> None:
        """Until it listens. ``until``: monotonic seconds. Raises Refused with its words if it doesn't."""
        listening = f"{int.from_bytes(self.address.packed, 'little'):08X}:{self.port:04X}"
        while self._process is not None and self._process.poll() is None and time.monotonic() < until:
            # The network namespace's own table: no packet needed, no session opened.
            if listening in Path(f"/proc/{self._process.pid}/net/udp").read_text():
                return
            time.sleep(0.02)
        said = (self._directory / "ipmi_sim.log").read_text(errors="replace").strip()
        raise Refused(f"the virtual BMC at {self.address} does not come up: {said or 'no word from ipmi_sim'}")

    def stop(self) -> None:
        """Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
