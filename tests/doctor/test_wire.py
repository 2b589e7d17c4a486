"""The doctor on a real wire: an appliance that serves, and a dnsmasq that should not."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, serving, wait_for
from tests.netns import Wire, sh, wire

TREE = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not (TREE / "netboot_assets/build/loaders/manifest.json").exists(),
        reason="`make setup` collects the loaders",
    ),
]


def doctor(appliance: Appliance) -> tuple[int, list[dict[str, Any]]]:
    done = appliance.run("doctor", "--json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def of(findings: list[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["check"] == check]


def rogue(net: Wire, folder: Path) -> subprocess.Popen[bytes]:
    namespace = net.plug("rogue", "52:54:00:00:00:99", "10.98.0.9/24")
    argv = ["dnsmasq", "--keep-in-foreground", "--port=0", "--interface=eth0", "--conf-file=/dev/null"]
    argv += ["--dhcp-range=10.98.0.100,10.98.0.120,1h", f"--dhcp-leasefile={folder}/leases", "--user=root"]
    process = subprocess.Popen([*net.exec(namespace), *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table = Path(f"/proc/{process.pid}/net/udp")
    wait_for("dnsmasq", lambda: process.poll() is None and ":0043 " in table.read_text())
    return process


@pytest.mark.rule("fault-14")
@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq-base (.setup/apt-test.txt)")
def test_what_the_doctor_finds_on_a_wire_with_a_second_dhcp_server(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    for name in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"):
        (release / f"flatcar_production_{name}").write_bytes(name.encode() * 5000)
    with wire() as net, serving(net, tmp_path) as appliance:
        appliance.run("subnet", "add", "10.98.0.0/24")
        appliance.run("image", "import", str(release), "--name", "flatcar", "--version", "1.2.3")
        add = ("machine", "add", "--mac", "52:54:00:00:00:07", "--ip", "10.98.0.7", "--role", "simple")
        appliance.run(*add, "--name", "node-07")
        code, findings = doctor(appliance)
        problems = [finding["says"] for finding in findings if finding["level"] == "problem"]
        assert (code, problems) == (0, [])
        (fetched,) = of(findings, "fetch")
        assert fetched["level"] == "ok"
        loaders = len(json.loads((TREE / "netboot_assets/build/loaders/manifest.json").read_text())["files"])
        assert f"{loaders} by TFTP, {loaders + 2} by HTTP" in fetched["says"]
        assert of(findings, "other-dhcp")[0]["says"] == "no other DHCP server answers on br0"
        assert of(findings, "ports")[0]["says"].startswith("the appliance listens on UDP 67 (DHCP), UDP 69 (TFTP)")

        # Cut off what a machine would be sent, and let another server answer.
        sh(
            *(*net.exec(net.server), "nft"),
            'table inet f {\nchain i {\ntype filter hook input priority 0;\niifname "br0" udp dport 67 drop;\n}\n}',
        )
        [kernel] = (tmp_path / "data/images").rglob("*vmlinuz")
        kernel.write_bytes(kernel.read_bytes()[:-1])
        process = rogue(net, tmp_path)
        try:
            code, findings = doctor(appliance)
        finally:
            process.kill()
            process.wait()
        assert code == 1
        (other,) = of(findings, "other-dhcp")
        assert other["says"].startswith(
            "another DHCP server answers on br0: 10.98.0.9 (MAC 52:54:00:00:00:99), it offers 10.98.0.1"
        )
        (cut,) = of(findings, "images")
        assert "flatcar_production_pxe.vmlinuz is truncated" in cut["says"]
        (dropped,) = of(findings, "firewall")
        assert dropped["says"] == "the firewall drops UDP 67 (DHCP) on br0"
        assert any("vmlinuz cannot be fetched" in finding["says"] for finding in of(findings, "fetch"))


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    """Nothing is served yet: what is in the way shows before the first start."""
    with wire() as net:
        config = tmp_path / "provisioner.toml"
        config.write_text(f'data_dir = "{tmp_path}/data"\ninterface = "br0"\n')
        appliance = Appliance(net, config)
        code = "import socket, time; s = socket.socket(2, 2); s.bind(('', 69)); "
        code += "print('up', flush=True); time.sleep(60)"
        squatter = subprocess.Popen(
            [*net.exec(net.server), "python3", "-c", code], stdout=subprocess.PIPE, text=True
        )
        try:
            assert squatter.stdout
            assert squatter.stdout.readline() == "up\n"
            exit_code, findings = doctor(appliance)
        finally:
            squatter.kill()
            squatter.communicate()
        assert exit_code == 1
        taken = [finding for finding in of(findings, "ports") if finding["level"] == "problem"]
        assert [finding["says"] for finding in taken] == [f"UDP 69 (TFTP) is taken by python3 (pid {squatter.pid})"]
        assert of(findings, "fetch")[0]["level"] == "unseen"
