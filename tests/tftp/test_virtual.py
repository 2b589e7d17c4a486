"""Files made from the inventory: what a loader gets by its MAC, by state, and that nothing secret is among it."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, State
from provisioner.domain.subnet import UnknownPolicy
from provisioner.tftp.virtual import VirtualFiles
from tests.domain.samples import NOW, install, machine, subnet
from tests.tftp.serving import FixedSnapshot, serving
from tests.tftp.test_server import fetch

SERVER, STRANGER = ip_address("10.12.1.2"), ip_address("10.12.1.99")
LISTED = machine()
MAC = LISTED.macs[0].hexhyp


def files(*machines: Machine, unknown: UnknownPolicy = UnknownPolicy.IGNORE) -> VirtualFiles:
    return VirtualFiles(FixedSnapshot(Inventory.build(machines, [subnet(unknown=unknown)])), lambda: NOW)


def read(name: str, made: VirtualFiles) -> str:
    content = made.content(name, STRANGER, SERVER)
    assert isinstance(content, bytes), f"{name}: {content!r}"
    return content.decode()


ARMED = replace(LISTED, state=State.ARMED, install=install(deadline=NOW + 10**9))
ACTIVE = replace(LISTED, state=State.ACTIVE)


@pytest.mark.parametrize("name", ["pxelinux.cfg/01-{mac}", "/pxelinux.cfg/01-{mac}", "pxelinux.cfg/01-{upper}"])
def test_pxelinux_leads_an_armed_machine_to_ipxe_with_its_own_drivers(name: str) -> None:
    lines = read(name.format(mac=MAC, upper=MAC.upper()), files(ARMED)).splitlines()
    assert lines[0].startswith(f"# {ARMED.name}: armed for role")
    assert lines[-2:] == ["    KERNEL ::ipxe.lkrn", f"    INITRD ::{MAC}/boot.ipxe"]


def test_pxelinux_and_grub_boot_the_disk_of_a_machine_that_is_not_armed() -> None:
    assert read(f"pxelinux.cfg/01-{MAC}", files(ACTIVE)).splitlines()[-1] == "    LOCALBOOT 0"
    assert "chainloader /EFI/BOOT/BOOTX64.EFI" in read(f"grub/grub.cfg-01-{MAC}", files(ACTIVE))


def test_grub_leads_an_armed_machine_to_ipxe() -> None:
    text = read(f"/grub/grub.cfg-01-{MAC}", files(ARMED))
    assert f"chainloader (tftp,{SERVER})/{MAC}/ipxe.efi" in text


@pytest.mark.parametrize("name", ["autoexec.ipxe", f"{MAC}/autoexec.ipxe", f"/{MAC.replace('-', ':')}/boot.ipxe"])
def test_ipxe_is_sent_to_the_boot_script(name: str) -> None:
    text = read(name, files(ARMED))
    assert text.startswith("#!ipxe\n")
    assert f"chain http://{SERVER}/boot.ipxe?mac=" in text
    assert (f"mac={MAC}" in text) is (name != "autoexec.ipxe"), "an unknown address: iPXE says its own MAC"


@pytest.mark.rule("threat-09")
def test_nothing_that_tftp_hands_out_is_secret() -> None:
    secret = b"kernel http://@@SERVER@@/k cloud-config-url=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/pxe.yml"
    armed = replace(
        ARMED, install=replace(install(deadline=NOW + 10**9), token_hash="5ec4e7", files={"boot.ipxe": secret})
    )
    for name in (f"pxelinux.cfg/01-{MAC}", f"grub/grub.cfg-01-{MAC}", f"{MAC}/boot.ipxe", "autoexec.ipxe"):
        text = read(name, files(armed))
        assert "/b/" not in text
        assert "5ec4e7" not in text


def test_a_name_or_reason_cannot_become_a_line_of_its_own() -> None:
    hostile = replace(LISTED, state=State.QUARANTINED, state_reason="serial\nKERNEL evil\r\nmenu ${net0/ip}")
    lines = read(f"pxelinux.cfg/01-{MAC}", files(hostile)).splitlines()
    assert [line for line in lines if "evil" in line] == lines[:1]
    assert lines[0].startswith("# ")


@pytest.mark.parametrize(
    "name",
    [
        "pxelinux.cfg/01-02-00-00-00-00-99",
        "pxelinux.cfg/0A0C0111",
        "pxelinux.cfg/default",
        "grub/grub.cfg",
        "grub/grub.cfg-01-xyz",
        "pxelinux.cfg/01-",
        "undionly.kpxe",
        "a/b",
        "",
        "/",
    ],
)
def test_other_names_are_left_to_the_folder(name: str) -> None:
    assert files(ARMED).content(name, STRANGER, SERVER) is None


def test_a_retired_machine_gets_nothing_and_an_unknown_one_what_its_subnet_says() -> None:
    assert files(replace(LISTED, state=State.RETIRED)).content(f"pxelinux.cfg/01-{MAC}", STRANGER, SERVER) is None
    other = "pxelinux.cfg/01-02-00-00-00-00-99"
    assert "discovers hardware" in read(other, files(unknown=UnknownPolicy.APPROVE))


def test_they_are_read_over_tftp_and_a_loader_by_mac_is_the_loader(tmp_path: Path) -> None:
    (tmp_path / "undionly.kpxe").write_bytes(b"loader")
    virtual = files(ARMED).content
    with serving(tmp_path, virtual=virtual) as made:
        to = ("127.0.0.1", made.port)
        assert fetch(f"{MAC}/undionly.kpxe", to) == b"loader"
        script = fetch(f"{MAC}/boot.ipxe", to, tsize=0, blksize=1432)
        assert isinstance(script, bytes)
        assert b"chain http://127.0.0.1/boot.ipxe?mac=" in script
        refused = fetch(f"{MAC}/../secret", to)
        assert not isinstance(refused, bytes)


def test_what_they_say_changes_with_the_machine() -> None:
    snapshot = FixedSnapshot(Inventory.build([ARMED], [subnet()]))
    made = VirtualFiles(snapshot, lambda: NOW)
    assert "ipxe.lkrn" in read(f"pxelinux.cfg/01-{MAC}", made)
    snapshot.inventory = snapshot.inventory.with_machines({ARMED.id: ACTIVE}, 2)
    assert "LOCALBOOT" in read(f"pxelinux.cfg/01-{MAC}", made)


def test_two_macs_are_told_apart() -> None:
    mac = Mac.parse("52:54:00:00:77:77")
    nic = replace(LISTED.interfaces[0], mac=mac, id=uuid4())
    other = replace(
        ARMED, id=uuid4(), slot=replace(ARMED.slot, id=uuid4(), name="other"), interfaces=(nic,), addresses=()
    )
    made = files(ACTIVE, other)
    assert "LOCALBOOT" in read(f"pxelinux.cfg/01-{MAC}", made)
    assert "# other:" in read(f"pxelinux.cfg/01-{mac.hexhyp}", made)
