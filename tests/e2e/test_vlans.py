"""Two VLANs on one cable: 802.1Q inside a guest, since a host's kernel may lack it.

The guest is the lab's kernel and image with this host's Python and the responder beside it. Its two network cards
are on one hub; what is tagged on the one is untagged by the other.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import structlog

from provisioner.lab.acceleration import MACHINE
from tests.dhcp.on_wire import CLIENT
from tests.dhcp.rack import DISCOVER, FAR_IP, FAR_MAC, IP, MAC, Asker
from tests.e2e.appliance import wait_for

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "netboot_assets/build/images/flatcar/lab"
pytestmark = [
    pytest.mark.system,
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="a guest needs QEMU"),
]
LIBRARIES = ("libpython3*.so*", "libsqlite3.so.0", "libffi.so.8", "libz.so.1", "libcrypto.so.3", "libssl.so.3")
"""What Python loads when it is asked to; what is linked to it, ldd tells."""

# The guest's first program: cables, VLANs 5 and 6 on both ends, the responder on the one, questions from the other.
FIRST = """#!/usr/bin/busybox sh
PATH=/py/bin:/usr/sbin:/usr/bin
export LD_LIBRARY_PATH=/py/lib
ip() { /py/bin/ip "$@"; }  # this shell prefers its own
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
exec >/dev/ttyS0 2>&1
for module in virtio_pci virtio_net 8021q; do modprobe $module; done
tries=0
until [ -e /sys/class/net/eth1 ] || [ $tries -gt 100 ]; do tries=$((tries + 1)); busybox sleep 0.1; done
ip netns add clients
ip link set eth1 netns clients
ip link set lo up
ip link set eth0 up
ip -n clients link set eth1 up
for vlan in 5 6; do
    ip link add link eth0 name eth0.$vlan type vlan id $vlan
    ip -n clients link add link eth1 name eth1.$vlan type vlan id $vlan
done
ip -n clients link set eth1.5 address NEAR_MAC
ip -n clients link set eth1.6 address FAR_MAC
ip addr add 10.98.0.1/24 dev eth0.5
ip addr add 10.99.0.1/24 dev eth0.6
for vlan in 5 6; do ip link set eth0.$vlan up; ip -n clients link set eth1.$vlan up; done
ip -d link show eth0.5
export PYTHONHOME=/py PYTHONPATH=/py/here PYTHONDONTWRITEBYTECODE=1
cd /py/here
busybox mkfifo /run/stdin
(busybox sleep 600 >/run/stdin) &
/py/bin/python -m tests.dhcp.serve eth0.5 10.98.0.1 authoritative "" eth0.6=10.99.0.1 </run/stdin &
tries=0
until busybox grep -q ':0043 ' /proc/net/udp || [ $tries -gt 600 ]; do tries=$((tries + 1)); busybox sleep 0.1; done
ask() { echo "ASKED $1: $(ip netns exec clients /py/bin/python /py/client.py 68 10 255.255.255.255 $3 $2)"; }
ask near eth1.5 NEAR_DISCOVER
ask far eth1.6 FAR_DISCOVER
ask lost eth1.6 NEAR_DISCOVER
echo "ALL ASKED"
busybox poweroff -f
"""


def overlay(stage: Path, out: Path) -> None:
    """What the guest has beyond the lab's image, as a second initramfs."""
    library = Path(sysconfig.get_path("stdlib"))
    unused = shutil.ignore_patterns(
        "test", "tests", "idlelib", "ensurepip", "site-packages", "__pycache__", "config-*"
    )
    shutil.copytree(library, stage / "py/lib" / library.name, ignore=unused)
    if dynamic := sysconfig.get_config_var("DESTSHARED"):
        shutil.copytree(dynamic, stage / "py/lib" / library.name / "lib-dynload", dirs_exist_ok=True)
    (stage / "py/bin").mkdir()
    # The lab's own ip is Busybox's, which knows neither VLANs nor namespaces.
    for name, program in (("python", sys.executable), ("ip", shutil.which("ip") or "")):
        shutil.copy2(Path(program).resolve(), stage / "py/bin" / name)
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=20).stdout
        for library_path in re.findall(r"=> (/\S+)", linked):
            shutil.copy(library_path, stage / "py/lib" / Path(library_path).name)
    for folder in (Path(sys.base_prefix) / "lib", Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH")):
        for pattern in LIBRARIES:
            for found in folder.glob(pattern):
                shutil.copy(found, stage / "py/lib" / found.name)
    here = stage / "py/here"
    for package in ("provisioner/domain", "provisioner/dhcp", "tests/dhcp"):
        shutil.copytree(ROOT / package, here / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("provisioner", "tests"):
        shutil.copy(ROOT / package / "__init__.py", here / package)
    shutil.copytree(Path(structlog.__file__).parent, here / "structlog")
    (stage / "py/client.py").write_text(CLIENT.replace('b"eth0"', "sys.argv[5].encode()"))
    replaced = {
        "NEAR_DISCOVER": Asker(mac=MAC, flags=0x8000).bytes(DISCOVER).hex(),
        "FAR_DISCOVER": Asker(mac=FAR_MAC, flags=0x8000).bytes(DISCOVER).hex(),
        "NEAR_MAC": str(MAC),
        "FAR_MAC": str(FAR_MAC),
    }
    script = FIRST
    for word, value in replaced.items():
        script = script.replace(word, value)
    (stage / "vlans").write_text(script)
    (stage / "vlans").chmod(0o755)
    packed = "find . -mindepth 1 -print0 | cpio --quiet --null -o -H newc | gzip -1"
    with out.open("ab") as sink:
        subprocess.run(["sh", "-c", packed], cwd=stage, stdout=sink, check=True, timeout=120)


@pytest.mark.rule("dhcp-40")
def test_each_vlan_is_a_wire_of_its_own(tmp_path: Path) -> None:
    initrd, console = tmp_path / "initrd", tmp_path / "console"
    shutil.copy(IMAGE / "flatcar_production_pxe_image.cpio.gz", initrd)
    overlay(tmp_path / "stage", initrd)
    console.touch()
    cards = [
        word
        for number in (0, 1)
        for word in (
            *("-netdev", f"hubport,id=port{number},hubid=0"),
            *("-device", f"virtio-net-pci,netdev=port{number},mac=52:54:00:98:21:0{number},romfile="),
        )
    ]
    guest = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", *MACHINE, "-m", "1536", "-nographic"),
            *("-no-user-config", "-nodefaults", "-no-reboot", "-serial", f"file:{console}", *cards),
            *("-kernel", str(IMAGE / "flatcar_production_pxe.vmlinuz"), "-initrd", str(initrd)),
            *("-append", "console=ttyS0 quiet net.ifnames=0 rdinit=/vlans panic=-1"),
        ],
        stdin=subprocess.DEVNULL,
        stderr=(tmp_path / "qemu.log").open("wb"),
    )
    try:
        wait_for(
            "the guest",
            lambda: "ALL ASKED" in console.read_text(errors="replace") or guest.poll() is not None,
            500,
        )
    finally:
        guest.kill()
        guest.wait(20)
    said = console.read_text(errors="replace")
    assert "vlan protocol 802.1Q id 5" in said, said
    answers = {
        line.split()[1].rstrip(":"): line.split()[2:] for line in said.splitlines() if line.startswith("ASKED ")
    }
    source, port, offer = answers["near"]
    assert (source, port) == ("10.98.0.1", "67"), said
    assert bytes.fromhex(offer)[16:20] == IP.packed
    source, port, offer = answers["far"]
    assert (source, port) == ("10.99.0.1", "67"), said
    assert bytes.fromhex(offer)[16:20] == FAR_IP.packed
    # The near machine plugged into the far VLAN is asked for there, and gets nothing.
    assert answers["lost"] == []
