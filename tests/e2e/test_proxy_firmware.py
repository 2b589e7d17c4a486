"""Real firmware beside somebody else's DHCP server: dnsmasq gives the addresses, we what to boot, and a newcomer is
listed and described by its own loader."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.machine import Hardware, LabFirmware
from tests.e2e.appliance import serving, wait_for
from tests.e2e.boxes import PATIENCE, box
from tests.netns import Wire, wire

pytestmark = [pytest.mark.system, pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(900)]

MAC = Mac.parse("52:54:00:98:aa:01")
NAME = "server-52540098aa01"
UUID_TOLD = UUID("c4c1c0de-0000-4000-8000-0000000000aa")


@contextmanager
def foreign_server(on: Wire, folder: Path) -> Iterator[None]:
    """dnsmasq, which knows nothing of booting."""
    namespace = on.plug("foreign", "52:54:00:98:0d:01", "10.98.0.9/24")
    process = subprocess.Popen(
        [
            *on.exec(namespace),
            *("dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=eth0", "--dhcp-authoritative"),
            *("--dhcp-range=10.98.0.50,10.98.0.60,255.255.255.0,600", "--dhcp-option=3,10.98.0.1"),
            *(f"--dhcp-leasefile={folder / 'dnsmasq.leases'}", f"--pid-file={folder / 'dnsmasq.pid'}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.rule("dhcp-28")
@pytest.mark.rule("dhcp-41")
@pytest.mark.parametrize(
    ("made_with", "known_as", "told_on"),
    [
        pytest.param(
            LabFirmware.BIOS, "bios", "looked for a boot server; boot script because it is iPXE", id="bios"
        ),
        pytest.param(LabFirmware.UEFI, "uefi-x64", "asked the boot server on port 4011; boot file", id="uefi"),
    ],
)
def test_a_newcomer_boots_beside_dnsmasq_and_tells_what_it_is(
    made_with: LabFirmware, known_as: str, told_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISIONER_INTERFACES", '[{"name": "br0", "dhcp": "proxy"}]')
    hardware = Hardware("newcomer", made_with, MAC, UUID_TOLD, "SN-4711")
    with wire("10.98.0.1/24") as on, foreign_server(on, tmp_path), serving(on, tmp_path, interface="") as appliance:
        appliance.run("subnet", "add", "10.98.0.0/24", "--gateway", "10.98.0.1", "--unknown", "enrol")
        with box(on, tmp_path, hardware):
            known = wait_for(
                "what the loader tells",
                lambda: next((m for m in appliance.ask("machine", "list") if m["serial"] == "SN-4711"), None),
                PATIENCE,
            )
        told = appliance.messages(NAME)
        events = [event["message"] for event in appliance.ask("machine", "events", "--limit", "500")]
    assert (known["name"], known["state"], known["uuid"]) == (NAME, "new", str(UUID_TOLD))
    assert known["firmware"] == known_as
    assert (tmp_path / "dnsmasq.leases").read_text().count(f" {MAC} ") == 1, "the address is the other server's"
    assert any(told_on in message for message in events), "\n".join(events)
    assert any("gets discover because" in message for message in told)
