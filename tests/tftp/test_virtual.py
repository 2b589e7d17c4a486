"""Files made from the inventory: what a loader gets by its MAC, by state, and that nothing secret is among it."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.events import Event
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine, Phase, State
from provisioner.domain.subnet import UnknownPolicy
from provisioner.images.store import ImageStore
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


def test_pxelinux_boots_the_disk_of_a_machine_that_is_not_armed() -> None:
    assert read(f"pxelinux.cfg/01-{MAC}", files(ACTIVE)).splitlines()[-1] == "    LOCALBOOT 0"


GRUB_NAMES = ["/grub/grub.cfg", f"grub/grub.cfg-01-{MAC}", "/debian-installer/arm64/grub/grub.cfg"]
COMPILED = b"linux (tftp,@@SERVER@@)/images/flatcar/1/k cloud-config-url=http://@@SERVER@@/boot/pxe.yml\n"
INSTALLS = replace(ARMED, install=install(deadline=NOW + 10**9, files={"boot.grub": COMPILED}))


def grub(name: str, made: VirtualFiles, client: IPAddress) -> str:
    content = made.content(name, client, SERVER)
    assert isinstance(content, bytes)
    return content.decode()


@pytest.mark.parametrize("name", GRUB_NAMES)
def test_grub_is_told_what_was_frozen_at_arming_at_the_machines_own_address_only(name: str) -> None:
    assert LISTED.ip is not None
    made = files(INSTALLS)
    assert grub(name, made, LISTED.ip) == COMPILED.decode().replace("@@SERVER@@", str(SERVER))
    elsewhere = grub(name, made, STRANGER)
    assert "linux" not in elsewhere
    assert elsewhere.splitlines()[-1] in ("reboot", "exit 1")


@pytest.mark.rule("threat-09")
def test_grub_is_told_nothing_at_an_address_that_another_mac_holds() -> None:
    assert LISTED.ip is not None
    known = FixedSnapshot(Inventory.build([INSTALLS], [subnet()]))
    thief = VirtualFiles(known, lambda: NOW, lambda _: Mac.parse("02:00:00:00:00:66"))
    owner = VirtualFiles(known, lambda: NOW, lambda _: LISTED.macs[0])
    assert "is held by 02:00:00:00:00:66" in grub("grub/grub.cfg", thief, LISTED.ip)
    assert "linux" in grub("grub/grub.cfg", owner, LISTED.ip)


@pytest.mark.parametrize("name", GRUB_NAMES)
def test_grub_starts_the_disk_of_a_machine_that_does_not_install(name: str) -> None:
    assert LISTED.ip is not None
    text = grub(name, files(ACTIVE), LISTED.ip)
    assert "search --no-floppy --file --set=root $loader" in text
    assert "/EFI/boot/boot$cpu.efi" in text
    assert "linux" not in text


def test_grub_with_an_install_of_an_earlier_program_says_arm_again() -> None:
    assert LISTED.ip is not None
    earlier = replace(ARMED, install=install(deadline=NOW + 10**9, files={"boot.ipxe": b"#!ipxe"}))
    assert "nothing that GRUB could start" in grub("grub/grub.cfg", files(earlier), LISTED.ip)


def test_kernel_and_initrd_are_read_over_tftp_from_the_image_store(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "kernel").write_bytes(b"k" * 3000)
    store = ImageStore(tmp_path / "images")
    store.import_dir(incoming, "flatcar", "1")
    root = tmp_path / "root"
    root.mkdir()
    made = VirtualFiles(FixedSnapshot(Inventory.build([ACTIVE], [subnet()])), lambda: NOW, images=store)
    with serving(root, virtual=made.content) as tftp:
        to = ("127.0.0.1", tftp.port)
        assert fetch("/images/flatcar/1/kernel", to, blksize=1024) == b"k" * 3000
        for missing in (
            "images/flatcar/2/kernel",
            "images/flatcar/1/manifest.json",
            "images/flatcar/1/../1/kernel",
        ):
            assert not isinstance(fetch(missing, to), bytes)
        tftp.recorder.wait_for("read /images/flatcar/1/kernel, 3 kB")


def test_what_shim_and_grub_can_do_without_is_no_refusal_on_the_timeline(tmp_path: Path) -> None:
    with serving(tmp_path) as tftp:
        for name in ("revocations_sbat.efi", "shim_certificate_0.efi", "/grub/x86_64-efi/fs.lst"):
            assert not isinstance(fetch(name, ("127.0.0.1", tftp.port)), bytes)
            assert tftp.recorder.wait_for(f"asked for {name}, which it can do without").kind == "tftp.read"


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
    for name in (f"pxelinux.cfg/01-{MAC}", *GRUB_NAMES, f"{MAC}/boot.ipxe", "autoexec.ipxe"):
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


USED_UP = replace(LISTED, state=State.INSTALLING, install=install(attempts=3, max_attempts=3, deadline=NOW + 10**9))


@pytest.mark.parametrize("name", ["/grub/grub.cfg", f"pxelinux.cfg/01-{MAC}"])
def test_a_machine_is_told_of_on_its_timeline_where_tftp_leads_it_and_why(name: str) -> None:
    assert LISTED.ip is not None
    told: list[Event] = []
    known = FixedSnapshot(Inventory.build([USED_UP], [subnet()]))
    made = VirtualFiles(known, lambda: NOW, lambda _: LISTED.macs[0], observe=told.append)
    made.content(name, LISTED.ip, SERVER)
    (event,) = told
    assert "config; gets disk because all 3 attempts were used without a complete report" in event.message
    assert (event.machine_id, event.phase, event.data["gets"]) == (LISTED.id, Phase.LOADER, "disk")
    # Whoever asks in its name from elsewhere says nothing of it.
    made.content(f"grub/grub.cfg-01-{MAC}", STRANGER, SERVER)
    made.content(f"pxelinux.cfg/01-{MAC}", STRANGER, SERVER)
    assert told == [event]
