"""Real clients against the running appliance: udhcpc, dhclient, curl, atftp; restarts and refusals."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, serving, wait_for
from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

KNOWN = "52:54:00:12:34:01"
SECOND = "52:54:00:12:34:02"
FETCHER = "52:54:00:12:34:03"
STRANGER = "52:54:00:99:99:99"
LOADERS = Path("netboot_assets/build/loaders")


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Appliance]]:
    with wire("10.98.0.1/24") as made, serving(made, tmp_path_factory.mktemp("appliance")) as appliance:
        appliance.run(
            "subnet",
            "add",
            "10.98.0.0/24",
            "--gateway",
            "10.98.0.1",
            "--dns",
            "10.98.0.1",
            "--domain",
            "rack.example",
        )
        appliance.run("machine", "add", "--name", "node-01", "--mac", KNOWN, "--ip", "10.98.0.11")
        appliance.run("machine", "add", "--name", "node-02", "--mac", SECOND, "--ip", "10.98.0.12")
        yield made, appliance


def client(made: Wire, name: str, mac: str, address: str | None = None) -> str:
    return (made.clients.get(name) and f"{made.server}-{name}") or made.plug(name, mac, address)


def release(folder: Path) -> Path:
    """A folder laid out like a Flatcar release; nothing here boots it."""
    (folder / "version.txt").write_text("FLATCAR_VERSION=1.2.3\n")
    for name in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"):
        (folder / f"flatcar_production_{name}").write_bytes(name.encode() * 1000)
    return folder


def inside(namespace: str, *argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return sh(*Wire.exec(namespace), *argv, check=False, timeout=timeout)


def test_udhcpc_gets_its_reserved_address_and_the_timeline_says_so(rack: tuple[Wire, Appliance]) -> None:
    made, appliance = rack
    namespace = client(made, "known", KNOWN)
    done = inside(namespace, "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", "/bin/true")
    assert done.returncode == 0, done.stderr
    assert "10.98.0.11" in done.stdout + done.stderr
    wait_for(
        "the offer on the timeline",
        lambda: any("10.98.0.11" in message for message in appliance.messages("node-01")),
    )


def test_dhclient_gets_address_router_and_name_servers(rack: tuple[Wire, Appliance], tmp_path: Path) -> None:
    made, _ = rack
    namespace = client(made, "second", SECOND)
    leases = tmp_path / "leases"
    argv = [
        "dhclient",
        "-4",
        "-1",
        "-d",
        "-sf",
        "/bin/true",
        "-lf",
        str(leases),
        "-pf",
        str(tmp_path / "pid"),
        "eth0",
    ]
    process = subprocess.Popen([*Wire.exec(namespace), *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        text = wait_for(
            "a lease", lambda: leases.exists() and "fixed-address" in (t := leases.read_text()) and t, 25
        )
    finally:
        process.terminate()
        process.wait(10)
    assert "fixed-address 10.98.0.12;" in text
    assert "option routers 10.98.0.1;" in text
    assert "option domain-name-servers 10.98.0.1;" in text
    assert 'option host-name "node-02";' in text


def test_a_stranger_gets_nothing_and_a_listed_machine_is_answered_at_once(rack: tuple[Wire, Appliance]) -> None:
    made, appliance = rack
    namespace = client(made, "stranger", STRANGER)
    ask = ["udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"]
    assert inside(namespace, *ask).returncode != 0
    appliance.run("machine", "add", "--name", "node-03", "--mac", STRANGER, "--ip", "10.98.0.13")
    done = inside(namespace, "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", "/bin/true")
    assert "10.98.0.13" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["curl", "-sS", "-o", "{out}", "tftp://10.98.0.1/undionly.kpxe"],
        ["atftp", "--get", "-r", "undionly.kpxe", "-l", "{out}", "10.98.0.1"],
        ["curl", "-sSf", "-o", "{out}", "http://10.98.0.1/loaders/undionly.kpxe"],
    ],
    ids=["curl-tftp", "atftp", "curl-http"],
)
def test_the_loader_arrives_whole(rack: tuple[Wire, Appliance], tmp_path: Path, argv: list[str]) -> None:
    made, _ = rack
    namespace = client(made, "fetch", FETCHER, "10.98.0.50/24")
    out = tmp_path / "loader"
    done = inside(namespace, *(word.format(out=out) for word in argv))
    assert out.read_bytes() == (LOADERS / "undionly.kpxe").read_bytes(), done.stderr


@pytest.mark.rule("threat-01")
def test_an_install_is_given_to_the_armed_machine_at_its_address_only(
    rack: tuple[Wire, Appliance], tmp_path: Path
) -> None:
    made, appliance = rack
    mac = "52:54:00:12:34:09"
    appliance.run("image", "import", str(release(tmp_path)), "--name", "flatcar")
    appliance.run("machine", "add", "--name", "node-09", "--mac", mac, "--ip", "10.98.0.19", "--role", "simple")
    appliance.run("machine", "arm", "node-09")
    itself, other = client(made, "node-09", mac, "10.98.0.19/24"), client(made, "fetch", FETCHER, "10.98.0.50/24")
    url = "http://10.98.0.1/boot.ipxe?mac=52-54-00-12-34-09&arch=bios"
    script = wait_for("the install", lambda: "/b/" in (text := inside(itself, "curl", "-sS", url).stdout) and text)
    config = next(word for word in script.split() if word.startswith("cloud-config-url=")).partition("=")[2]
    assert "/b/" not in inside(other, "curl", "-sS", url).stdout
    assert inside(itself, "curl", "-sS", config).stdout.startswith("#cloud-config")
    stolen = inside(other, "curl", "-sS", "-w", "%{http_code}", config)
    assert stolen.stdout.endswith("403")
    wait_for(
        "the refusal on the timeline",
        lambda: any("10.98.0.50" in message for message in appliance.messages("node-09")),
    )
    assert all(config.split("/")[4] not in message for message in appliance.messages("node-09")), "a token leaked"


def test_the_page_asks_for_a_login_and_the_link_that_serve_prints_works(
    rack: tuple[Wire, Appliance],
) -> None:
    made, appliance = rack
    link = next(
        line.split()[-1]
        for line in (appliance.config.parent / "serve.log").read_text().splitlines()
        if line.startswith("first login")
    )
    answered = sh(*made.exec(made.server), "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", link)
    assert answered.stdout == "200"
    bare = sh(
        *made.exec(made.server),
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://10.98.0.1:8080/api/v1/machines",
    )
    assert bare.stdout == "401"


def test_a_service_that_is_killed_comes_back_and_says_so(rack: tuple[Wire, Appliance]) -> None:
    made, appliance = rack
    pids = sh("ip", "netns", "pids", made.server).stdout.split()
    images = [
        pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"--only\0images")
    ]
    assert len(images) == 1
    sh("kill", "-9", images[0])
    wait_for(
        "the event",
        lambda: any("service images ended by itself" in e["message"] for e in appliance.ask("machine", "events")),
    )
    ask = [
        *made.exec(made.server),
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://10.98.0.1:8081/healthz",
    ]
    wait_for("the image server", lambda: sh(*ask, check=False).stdout == "200", 20)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["serve", "--interface", "nope0"], 1, "interface 'nope0' does not exist; interfaces here:"),
        (["machine", "add", "--name", "x", "--mac", "zz"], 1, "mac 'zz' is not a MAC address; write six pairs"),
        (["machine", "show", "node-77"], 1, "no machine 'node-77'; `provisioner machine list` shows what there is"),
        (["machine", "arm", "node-01"], 1, "machine node-01 is new and cannot be armed; it lacks a role"),
        (["machine", "frobnicate"], 2, "No such command"),
        (
            ["machine", "power", "on", "node-01"],
            1,
            "machine node-01 has no BMC; `provisioner machine set node-01 --bmc",
        ),
    ],
    ids=["interface", "mac", "unknown", "arm-new", "usage", "no-bmc"],
)
def test_mistakes_get_one_sentence_that_helps(
    rack: tuple[Wire, Appliance], words: list[str], code: int, sentence: str
) -> None:
    _, appliance = rack
    done = appliance.run(*words, check=False)
    assert done.returncode == code
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_when_grub_starts_the_disk_after_the_last_attempt_the_install_has_failed(
    rack: tuple[Wire, Appliance], tmp_path: Path
) -> None:
    made, appliance = rack
    mac, ip = "52:54:00:12:34:0a", "10.98.0.20"
    appliance.run("image", "import", str(release(tmp_path)), "--name", "flatcar", check=False)
    listed = ["--name", "node-10", "--mac", mac, "--ip", ip, "--role", "simple", "--labels", "loader=shimx64.efi"]
    appliance.run("machine", "add", *listed)
    appliance.run("machine", "arm", "node-10")
    itself = client(made, "node-10", mac, f"{ip}/24")
    first = f"http://10.98.0.1/boot/pxe.yml?mac={mac}&arch=uefi-x64"
    for _ in range(3):
        config = wait_for(
            "pxe.yml", lambda: "/b/" in (text := inside(itself, "curl", "-sS", first).stdout) and text
        )
        token = config.partition("/b/")[2].partition("/")[0]
        assert inside(itself, "curl", "-sSf", f"http://10.98.0.1/b/{token}/install.sh").stdout.startswith("#!")
    assert appliance.ask("machine", "show", "node-10")["state"] == "installing"

    # The fourth boot, whose install would be the fourth: firmware asks for an address, GRUB for its config.
    firmware = ["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-O", "66", "-O", "67"]
    inside(itself, "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", "/bin/true", *firmware)
    wait_for("firmware on the wire", lambda: appliance.ask("machine", "show", "node-10")["phase"] == "firmware")
    done = inside(itself, "atftp", "--get", "-r", "/grub/grub.cfg", "-l", str(tmp_path / "grub.cfg"), "10.98.0.1")
    assert "chainloader" in (tmp_path / "grub.cfg").read_text(), done.stderr
    shown = wait_for(
        "the end",
        lambda: (m := appliance.ask("machine", "show", "node-10"))["state"] == "failed" and m,
    )
    assert shown["reason"].endswith("all 3 attempts were used without a complete report")
    assert any("GRUB config; gets disk because all 3 attempts" in said for said in appliance.messages("node-10"))
