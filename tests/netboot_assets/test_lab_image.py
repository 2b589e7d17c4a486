"""The lab image in real machines: netbooted, installed to an empty disk, booted from it on both firmwares.

The machines have QEMU's own network (its DHCP server, the host at 10.0.2.2): what is proved here is the
image alone, without the appliance.
"""

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "netboot_assets/build"
IMAGE = BUILD / "images/flatcar/lab"
OVMF_CODE, OVMF_VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
BOOT_SECONDS = 300  # a bound for a busy host, not an expectation: 20 s for a disk, 45 s for an install

PXE = """#cloud-config
write_files:
  - path: /opt/install.sh
    permissions: "0755"
    content: |
      #!/bin/bash
      set -euo pipefail
      curl -fsS -o /tmp/installed.yml {url}/installed.yml
      flatcar-install -d /dev/vda -b {url}/images/flatcar -c /tmp/installed.yml
      if findmnt -rn | grep vda; then exit 1; fi
      # A disk in use is refused.
      mount /dev/vda2 /mnt
      if flatcar-install -d /dev/vda -b {url}/images/flatcar 2>/tmp/refusal; then exit 1; fi
      umount /mnt
      curl -fsS --data-binary @/tmp/refusal {url}/installed
coreos:
  units:
    - name: setup.service
      command: start
      content: |
        [Service]
        Type=oneshot
        ExecStart=/opt/install.sh
        ExecStopPost=/usr/bin/systemctl poweroff --no-block
        StandardOutput=journal+console
        StandardError=journal+console
"""

INSTALLED = """#cloud-config
hostname: disk-1
write_files:
  - path: /etc/systemd/network/00-static.network
    content: |
      [Match]
      Type=ether
      [Network]
      Address=10.0.2.77/24
      Gateway=10.0.2.2
  - path: /opt/report.sh
    permissions: "0755"
    content: |
      #!/bin/bash
      firmware=bios
      if [ -d /sys/firmware/efi ]; then firmware=uefi; fi
      {{
          echo "hostname $(</etc/hostname)"
          echo "address $(ip -4 -o addr show scope global | awk '{{ printf "%s ", $4 }}')"
          echo "root $(findmnt -no FSTYPE,LABEL / | tr -s ' ')"
          echo "init $(</proc/1/comm)"
          echo "failed $(systemctl --failed --plain --no-legend)"
      }} | curl -fsS --retry 10 --retry-all-errors --data-binary @- {url}/active/$firmware
coreos:
  units:
    - name: report.service
      command: start
      content: |
        [Unit]
        Wants=network-online.target
        After=network-online.target
        [Service]
        Type=oneshot
        ExecStart=/opt/report.sh
        ExecStopPost=/usr/bin/systemctl poweroff --no-block
        StandardOutput=journal+console
        StandardError=journal+console
"""


class Site(http.server.ThreadingHTTPServer):
    """Files on GET, and what the machines say on POST."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.said: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://10.0.2.2:{self.server_address[1]}"


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Site

    def do_POST(self) -> None:
        self.server.said[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Quiet: the consoles say enough."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "images").symlink_to(BUILD / "images")
    with Site(folder) as server:
        (folder / "pxe.yml").write_text(PXE.format(url=server.url))
        (folder / "installed.yml").write_text(INSTALLED.format(url=server.url))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def boot(console: Path, disk: Path, *options: str | Path) -> str:
    """Run one machine until it powers itself off; returns the end of its console."""
    machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"]
    machine += ["-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    machine += ["-drive", f"if=virtio,format=raw,cache=unsafe,file={disk}"]
    # No option ROM: firmware has no other place to boot from than what is given here.
    machine += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    # /dev/kvm may be there and hang its guests, hence the accelerator by name.
    subprocess.run([*machine, "-device", "virtio-rng-pci", *options], check=True, timeout=BOOT_SECONDS)
    return "\n".join(console.read_text(errors="replace").splitlines()[-60:])


@pytest.mark.long  # tests/e2e/test_rack.py takes the same way with the whole appliance
@pytest.mark.e2e
@pytest.mark.timeout(2 * BOOT_SECONDS + 30)
def test_netboot_install_and_boot_from_disk_on_both_firmwares(tmp_path: Path, site: Site) -> None:
    if not (IMAGE / "flatcar_production_image.bin.bz2.DIGESTS").exists():
        pytest.skip("the lab image is not built (netboot_assets/lab-image/build.sh)")
    if not shutil.which("qemu-system-x86_64") or not OVMF_CODE.exists():
        pytest.skip("qemu-system-x86 and ovmf are not installed (.setup/apt-lab.txt)")
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(4 << 30)

    live = ["-kernel", IMAGE / "flatcar_production_pxe.vmlinuz"]
    live += ["-initrd", IMAGE / "flatcar_production_pxe_image.cpio.gz"]
    live += ["-append", f"console=ttyS0 cloud-config-url={site.url}/pxe.yml"]
    console = boot(tmp_path / "live.log", disk, *live)
    assert "/dev/vda is in use: mounted at" in site.said.get("/installed", ""), console

    variables = tmp_path / "vars.fd"
    shutil.copy(OVMF_VARS, variables)
    uefi = ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"]
    uefi += ["-drive", f"if=pflash,format=raw,file={variables}"]
    # -snapshot: both start from the disk as it was installed, at the same time.
    with ThreadPoolExecutor() as pool:
        consoles = {
            "uefi": pool.submit(boot, tmp_path / "uefi.log", disk, "-snapshot", *uefi),
            "bios": pool.submit(boot, tmp_path / "bios.log", disk, "-snapshot"),
        }
    for firmware, machine in consoles.items():
        said = site.said.get(f"/active/{firmware}", "")
        assert said.splitlines() == [
            "hostname disk-1",
            "address 10.0.2.77/24 ",
            "root ext4 ROOT",
            "init systemd",
            "failed ",
        ], f"{firmware}: {machine.result()}"
