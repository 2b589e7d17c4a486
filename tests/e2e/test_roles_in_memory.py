"""Roles that install nothing, on real firmware: ``discover`` tells what it found, ``rescue`` ends in a shell with
its address, ``memtest`` measures memory by BIOS and tests it by UEFI."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.machine import PRODUCT, VENDOR, Hardware, LabFirmware
from provisioner.lab.router import Router
from tests.e2e.appliance import Appliance, serving, wait_for
from tests.e2e.boxes import PATIENCE, box, console
from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.system, pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]

IMAGE = Path("netboot_assets/build/images/flatcar/lab")
UUID_TOLD = UUID("c4c1c0de-0000-4000-8000-0000000000ab")


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Appliance]]:
    with wire("10.96.0.1/24") as on, serving(on, tmp_path_factory.mktemp("appliance")) as appliance:
        appliance.run("subnet", "add", "10.96.0.0/24", "--gateway", "10.96.0.1")
        appliance.run("image", "import", str(IMAGE), "--name", "flatcar")
        router = Router(on.server)
        router.start()
        try:
            yield on, appliance
        finally:
            router.stop()


def armed(appliance: Appliance, number: int, role: str, firmware: LabFirmware, *, screen: bool = False) -> Hardware:
    """A machine of this role, listed and armed; still off."""
    name, mac = f"node-{number:02}", f"52:54:00:96:00:{number:02x}"
    place = ("--name", name, "--mac", mac, "--ip", f"10.96.0.{10 + number}", "--role", role)
    appliance.run("machine", "add", *place)
    appliance.run("machine", "arm", name)
    return Hardware(name, firmware, Mac.parse(mac), UUID_TOLD, f"SN-{number}", screen=screen)


def holder(on: Wire, ip: str) -> str:
    """The MAC that answers for ``ip`` now; empty if none does."""
    sh("ip", "-n", on.server, "neigh", "flush", "to", ip)
    # Nothing listens on this port, but the kernel has to ask for the MAC first.
    sh(*on.exec(on.server), "curl", "-s", "--max-time", "5", f"http://{ip}:9/", check=False)
    found = json.loads(sh("ip", "-j", "-n", on.server, "neigh", "show", ip).stdout or "[]")
    return str(found[0].get("lladdr", "")) if found else ""


def test_discover_tells_what_the_machine_is_made_of_and_leaves_it_to_its_disk(
    rack: tuple[Wire, Appliance], tmp_path: Path
) -> None:
    on, appliance = rack
    hardware = armed(appliance, 1, "discover", LabFirmware.UEFI)
    with box(on, tmp_path, hardware) as machine:
        logged = wait_for(
            "the log",
            lambda: '"nics"' in (said := appliance.run("machine", "log", "node-01", check=False).stdout) and said,
            PATIENCE,
        )
        wait_for("the end", lambda: appliance.ask("machine", "show", "node-01")["state"] == "installed", 60)
        wait_for(
            "the boot after it",
            lambda: any("gets disk because installed" in said for said in appliance.messages("node-01")),
            PATIENCE,
        )
        assert "reboot: Restarting system" in console(machine)
    found = json.loads(logged[logged.index("{") : logged.rindex("}") + 1])
    (nic,) = found["nics"]
    assert (nic["mac"], nic["link"], nic["driver"]) == (str(hardware.mac), True, "virtio_net")
    (disk,) = found["disks"]
    assert (disk["name"], disk["bytes"], disk["serial"]) == ("vda", 4 << 30, "SN-1")
    assert (found["vendor"], found["model"], found["serial"]) == (VENDOR, PRODUCT, "SN-1")
    assert (found["uuid"], found["firmware"]) == (str(UUID_TOLD), "uefi")
    assert found["cpu"]["threads"] == 1
    assert found["cpu"]["model"].startswith("QEMU")
    assert 900_000 < found["memory_kib"] <= 1 << 20


def test_rescue_ends_in_a_shell_at_the_machines_own_address(rack: tuple[Wire, Appliance], tmp_path: Path) -> None:
    on, appliance = rack
    hardware = armed(appliance, 2, "rescue", LabFirmware.BIOS)
    with box(on, tmp_path, hardware) as machine:
        # The console logs in before the network is up: its prompt has no name yet.
        wait_for("a shell", lambda: "root@localhost:~#" in console(machine), PATIENCE)
        wait_for("its own network", lambda: "restart systemd-networkd.service" in console(machine), PATIENCE)
        wait_for("its address", lambda: holder(on, "10.96.0.12") == str(hardware.mac), 60)
    shown = appliance.ask("machine", "show", "node-02")
    assert (shown["state"], shown["attempts"]) == ("armed", 0)


@pytest.mark.parametrize(
    ("number", "firmware", "file", "shows"),
    [
        (3, LabFirmware.BIOS, "memtest86+x64.bin", "Memory  : 1023MB"),
        (4, LabFirmware.UEFI, "memtest86+x64.efi", "[Address test"),
    ],
)
def test_memtest_runs_and_shows_it_on_the_serial_console(
    rack: tuple[Wire, Appliance], tmp_path: Path, number: int, firmware: LabFirmware, file: str, shows: str
) -> None:
    on, appliance = rack
    unpack = 'cd "$1" && apt-get download memtest86+ && dpkg-deb -x *.deb m && install -D "m/boot/$2" "image/$2"'
    sh("bash", "-c", unpack, "bash", str(tmp_path), file, timeout=120)
    appliance.run("image", "import", str(tmp_path / "image"), "--name", "memtest", "--version", f"6.{number}")
    hardware = armed(appliance, number, "memtest", firmware, screen=True)
    with box(on, tmp_path, hardware) as machine:
        wait_for("its screen", lambda: "Memtest86+ v6" in console(machine), PATIENCE)
        wait_for("what it does", lambda: shows in console(machine), PATIENCE)
