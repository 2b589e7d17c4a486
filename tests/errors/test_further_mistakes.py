"""What people type who know what they want: each slip is refused with what was meant, and changes nothing."""

from pathlib import Path

import pytest

from provisioner.supervise import alone
from tests.cli.conftest import Run
from tests.errors.conftest import refused

ADD = ("machine", "add", "--name", "node-02", "--mac", "52:54:00:00:00:02")
SUBNET = ("subnet", "add", "10.12.2.0/24")

SLIPS: dict[str, tuple[tuple[str, ...], str]] = {
    # -- names and MACs
    "a name in capitals": (
        ("machine", "add", "--name", "Node 02", "--mac", "52:54:00:00:00:02"),
        "name 'Node 02' is not a host name; did you mean node-02? "
        "use 1 to 63 lower-case letters, digits and hyphens, like node-17",
    ),
    "a name with its domain": (
        ("machine", "add", "--name", "node-02.example.org", "--mac", "52:54:00:00:00:02"),
        "name 'node-02.example.org' has a domain in it; "
        "write node-02 alone; the domain is the subnet's: `provisioner subnet set PREFIX --domain NAME`",
    ),
    "an address for a name": (
        ("machine", "add", "--name", "10.12.1.12", "--mac", "52:54:00:00:00:02"),
        "name '10.12.1.12' is not a host name; use 1 to 63 lower-case letters, digits and hyphens, like node-17",
    ),
    "a multicast MAC": (
        ("machine", "add", "--name", "node-02", "--mac", "01:00:5e:00:00:01"),
        "mac '01:00:5e:00:00:01' is a group address; give the network card's own address",
    ),
    "an InfiniBand address": (
        ("machine", "add", "--name", "node-02", "--mac", "80:00:02:08:" + ":".join(["00"] * 15) + ":39"),
        "mac '80:00:02:08:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:39' is an InfiniBand address, not a MAC; "
        "name an Ethernet card of that machine; write six pairs of hexadecimal digits, like 52:54:00:12:34:56",
    ),
    "two MACs with a comma": (
        ("machine", "add", "--name", "node-02", "--mac", "52:54:00:00:00:02,52:54:00:00:00:03"),
        "mac '52:54:00:00:00:02,52:54:00:00:00:03' has a comma in it; "
        "separate several MACs by ';', the boot NIC's first",
    ),
    # -- addresses
    "an address with its prefix length": (
        (*ADD, "--ip", "10.12.1.12/24"),
        "ip '10.12.1.12/24' is not an IP address; "
        "write it without the prefix length, which is the subnet's: 10.12.1.12",
    ),
    "leading zeros": (
        (*ADD, "--ip", "10.12.1.012"),
        "ip '10.12.1.012' is not an IP address; write it without leading zeros: 10.12.1.12",
    ),
    "two addresses with a comma": (
        (*ADD, "--ip", "10.12.1.12,10.12.1.13"),
        "ip '10.12.1.12,10.12.1.13' has a comma in it; separate several by ';', in the order of the MACs",
    ),
    "no address at all": (
        (*ADD, "--ip", "0.0.0.0"),
        "ip '0.0.0.0' is the address of nobody, no host's; give the address it has on its network",
    ),
    "a multicast address": (
        (*ADD, "--ip", "224.0.0.1"),
        "ip '224.0.0.1' is a multicast address, no host's; give the address it has on its network",
    ),
    "what a host gives itself": (
        (*ADD, "--ip", "169.254.7.7"),
        "ip '169.254.7.7' is a link-local address, no host's; give the address it has on its network",
    ),
    # -- subnets
    "a gateway that is the network": (
        (*SUBNET, "--gateway", "10.12.2.0"),
        "gateway '10.12.2.0' is the network or broadcast address of 10.12.2.0/24; choose a host address",
    ),
    "a pool that begins with the network": (
        (*SUBNET, "--pool", "10.12.2.0-10.12.2.20"),
        "pools '10.12.2.0' is the network or broadcast address of 10.12.2.0/24; choose a host address",
    ),
    "half a pool": (
        (*SUBNET, "--pool", "10.12.2.10-20"),
        "pools '10.12.2.10-20' ends in half an address; write both in full: 10.12.2.10-10.12.2.20",
    ),
    "pools that overlap": (
        (*SUBNET, "--pool", "10.12.2.10-10.12.2.20,10.12.2.15-10.12.2.30"),
        "pools '10.12.2.15-10.12.2.30' overlaps 10.12.2.10-10.12.2.20; name each address once",
    ),
    "a domain with a space": (
        (*SUBNET, "--domain", "example org"),
        "domain 'example org' is not a domain name; write it like rack1.example.org",
    ),
    "a prefix without its length": (
        ("subnet", "add", "10.12.2.0"),
        "prefix '10.12.2.0' has no length; write the network with its length, like 10.12.1.0/24",
    ),
    "everything": (
        ("subnet", "add", "0.0.0.0/0"),
        "prefix '0.0.0.0/0' cannot be a network of machines; write one like 10.12.1.0/24",
    ),
    # -- commands
    "a state that is none": (
        ("machine", "list", "--state", "armd"),
        "state 'armd' is not known; "
        "choose one of new, ready, armed, installing, installed, active, failed, quarantined, retired",
    ),
    "power the wrong way round": (
        ("machine", "power", "node-01", "on"),
        "operation 'node-01' is not known; the operation comes first: `provisioner machine power on node-01`",
    ),
    "no time": (
        ("machine", "arm", "node-01", "--hours", "nan"),
        "hours 'nan' is no time to wait; give more than 0 and at most 8760",
    ),
    "a time that is over": (
        ("machine", "arm", "node-01", "--hours", "-1"),
        "hours '-1' is no time to wait; give more than 0 and at most 8760",
    ),
    "a payload from the root": (
        ("payload", "add", "/etc/hostname", "--path", "/k8s/kubelet"),
        "path '/k8s/kubelet' begins with a slash; paths are below /payload: k8s/kubelet",
    ),
    "no container image": (
        ("container", "import", "/etc/hostname"),
        "file '/etc/hostname' cannot be read as a tar (not a tar file); `docker save` or `skopeo copy` makes one",
    ),
    "an image that nobody imported": (
        ("image", "verify", "flatcar"),
        "no image 'flatcar'; none is imported yet; `provisioner image import DIR --name flatcar`",
    ),
    "a lab that is not there": (
        ("lab", "down", "pl1-0"),
        "no lab 'pl1-0'; `provisioner lab status` shows what there is",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_and_its_sentence(rack: Run, words: tuple[str, ...], sentence: str) -> None:
    assert refused(rack(*words)) == sentence
    assert [machine["name"] for machine in rack("machine", "list", "--json").json] == ["node-01"]
    assert [subnet["prefix"] for subnet in rack("subnet", "list", "--json").json] == ["10.12.1.0/24"]


FILES: dict[str, tuple[bytes, str]] = {
    "a column twice": (
        b"name,mac,mac\nnode-02,52:54:00:00:00:02,52:54:00:00:00:03\n",
        "nothing was imported, 1 line is wrong:\n"
        "line 1: column 'mac' is there twice; keep one (several MACs or IPs: by ';')",
    ),
    "no heading": (
        b"node-02,52:54:00:00:00:02\n",
        "nothing was imported, 1 line is wrong:\n"
        "line 1: 'node-02' is no column, nor is anything else here; the first line names the columns, "
        "like name,mac,ip,role",
    ),
    "a fault after a cell over two lines": (
        b'name,mac,labels\nnode-02,52:54:00:00:00:02,"a=1;\nb=2"\nnode-03,zz,\n',
        "nothing was imported, 1 line is wrong:\n"
        "line 4: mac 'zz' is not a MAC address; write six pairs of hexadecimal digits, like 52:54:00:12:34:56",
    ),
    "a quote that is not closed": (
        b'name,mac,rack\nnode-02,52:54:00:00:00:02,"' + b"r" * 200_000,
        "nothing was imported, 1 line is wrong:\n"
        "line 2: is not CSV (field larger than field limit (131072)); is a quote left open?",
    ),
    "UTF-16": (
        "name,mac\nnode-02,52:54:00:00:00:02\n".encode("utf-16"),
        "file '{file}' is not UTF-8 text; save it in UTF-8 (spreadsheets: as CSV in UTF-8)",
    ),
    "UTF-16 without its mark": (
        "name,mac\nnode-02,52:54:00:00:00:02\n".encode("utf-16-le"),
        "file '{file}' is not UTF-8 text; save it in UTF-8 (spreadsheets: as CSV in UTF-8)",
    ),
    "a workbook": (
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00",
        "file '{file}' is a spreadsheet program's own format; save it as CSV in UTF-8",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_refused(rack: Run, tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "rack.csv"
    file.write_bytes(content)
    assert refused(rack("machine", "import", str(file))) == sentence.replace("{file}", str(file))
    assert [machine["name"] for machine in rack("machine", "list", "--json").json] == ["node-01"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfName,MAC,IP\r\nnode-02,5254.0000.0002,10.12.1.12\r\n",
        b"name,mac,ip,,\nnode-02,52-54-00-00-00-02,10.12.1.12,,\n,,,,\n",
        b"name,mac,ip\rnode-02,525400000002,10.12.1.12\r",
    ],
    ids=["as Excel saves it", "empty columns at the right", "old line ends"],
)
def test_a_file_as_spreadsheets_save_it(rack: Run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "rack.csv"
    file.write_bytes(content)
    assert rack("machine", "import", str(file)).code == 0
    machine = rack("machine", "show", "node-02", "--json").json
    assert (machine["mac"], machine["ip"]) == ("52:54:00:00:00:02", "10.12.1.12")


SETTINGS = {
    "an address for a section": (
        'people = "0.0.0.0:8080"',
        "setting people '0.0.0.0:8080' is a section; write [people] in {file}, with listen = … below it",
    ),
    "a number for text": (
        "[people]\nlisten = 8080",
        "setting people.listen 8080 is not text; put it in quotes; mend it in {file}",
    ),
    "a port that is none": (
        '[people]\nlisten = "8080x"',
        "setting people.listen '8080x' names no port; write it like 0.0.0.0:8080; mend it in {file}",
    ),
    "a key of another section": (
        "[people]\nport = 8080",
        "setting 'people.port' in {file} is not known; known settings: listen",
    ),
    "one table for a list": (
        '[interfaces]\nname = "eth1"',
        "setting interfaces is one table, not a list; write [[interfaces]] in {file}",
    ),
    "a choice that is none": (
        '[[interfaces]]\nname = "eth1"\ndhcp = "on"',
        "setting interfaces.0.dhcp 'on' is not a choice; choose 'authoritative', 'proxy' or 'off'; "
        "mend it in {file}",
    ),
    "an interface without a name": (
        '[[interfaces]]\ndhcp = "off"',
        "setting interfaces.0.name is missing; give it in {file}",
    ),
    "no address": (
        'interface = "eth1"\naddress = "10.12.1.300"',
        "setting address '10.12.1.300' is not an IPv4 address; write it like 10.12.1.2; mend it in {file}",
    ),
    "too large": (
        "[tftp]\nport = 99999",
        "setting tftp.port 99999 is too large; give at most 65535; mend it in {file}",
    ),
    "no folder": (
        'data_dir = ""',
        "setting data_dir '' names no folder; write it like /var/lib/provisioner; mend it in {file}",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_setting_that_does_not_fit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    if "data_dir" in text:
        monkeypatch.delenv("PROVISIONER_DATA_DIR")
    file = tmp_path / "p.toml"
    file.write_text(text)
    assert refused(run("machine", "list", "--config", str(file))) == sentence.replace("{file}", str(file))


def test_settings_that_are_not_utf_8(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes('interface = "eth1"'.encode("utf-16"))
    assert refused(run("machine", "list", "--config", str(file))) == (
        f"settings file {file} is not UTF-8 text; save it in UTF-8"
    )


VARIABLES = {
    "PROVISIONER_TFTP__PORT": (
        "x",
        "setting tftp.port 'x' is not a whole number; mend it in PROVISIONER_TFTP__PORT",
    ),
    "PROVISIONER_INTERFACES": (
        "eth1",
        "PROVISIONER_INTERFACES 'eth1' is not JSON; write such settings in the settings file",
    ),
    "PROVISIONER_DATADIR": (
        "/srv/p",
        "environment variable PROVISIONER_DATADIR is not known; did you mean PROVISIONER_DATA_DIR?",
    ),
}


@pytest.mark.parametrize(("name", "told"), VARIABLES.items(), ids=VARIABLES.keys())
def test_a_variable_that_does_not_fit(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, told: tuple[str, str]
) -> None:
    value, sentence = told
    monkeypatch.setenv(name, value)
    assert refused(run("machine", "list")) == sentence


def test_a_variable_of_another_program_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes gives such to every container beside a service of this name."""
    monkeypatch.setenv("PROVISIONER_SERVICE_HOST", "10.0.0.1")
    assert run("machine", "list").code == 0


def test_postgresql_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", "postgresql://user@127.0.0.1:1/inventory")
    assert refused(run("machine", "list")) == (
        'the database cannot be used now: connection failed: connection to server at "127.0.0.1", port 1 failed: '
        "Connection refused; does PostgreSQL run there, and listen on that address? see database_url"
    )


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "no number": (
        ("machine", "add", "--name", "n", "--mac", "52:54:00:00:00:02", "--unit", "2x"),
        "--unit '2x' is not a whole number; `provisioner machine add --help` shows how",
    ),
    "too few": (
        ("machine", "events", "--limit", "0"),
        "--limit '0' is too small; give at least 1; `provisioner machine events --help` shows how",
    ),
    "an option left out": (
        ("machine", "add", "--name", "node-02"),
        "Missing option '--mac'; `provisioner machine add --help` shows how",
    ),
    "an argument left out": (
        ("machine", "arm"),
        "Missing argument 'MACHINE...'; `provisioner machine arm --help` shows how",
    ),
    "a command that is nearly one": (
        ("machine", "ad"),
        "No such command 'ad'. Did you mean 'add'? `provisioner machine --help` shows how",
    ),
    "settings without a file": (
        ("machine", "list", "--config"),
        "--config names no file; `provisioner --help` shows how",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), USAGE.values(), ids=USAGE.keys())
def test_usage_is_told_in_one_line(run: Run, words: tuple[str, ...], sentence: str) -> None:
    done = run(*words)
    assert (done.code, done.out, done.err) == (2, "", f"provisioner: {sentence}\n")


def test_a_second_appliance_on_one_data_directory(run: Run, tmp_path: Path) -> None:
    with alone(tmp_path / "data"):
        assert refused(run("serve", "--interface", "lo")) == (
            f"Provisioner serves from {tmp_path / 'data'} already; "
            "stop that one (Ctrl-C, or `systemctl stop provisioner.target`), or set another data_dir"
        )


def test_of_several_machines_those_go_that_can(rack: Run, release: Path) -> None:
    assert rack("image", "import", str(release), "--name", "flatcar").code == 0
    done = rack("machine", "arm", "node-77", "node-01")
    assert (done.code, done.out) == (3, "node-01: armed, armed for role simple\n")
    assert done.err == "provisioner: no machine 'node-77'; `provisioner machine list` shows what there is\n"


def test_an_edit_of_an_armed_machine_says_what_it_does_not_change(rack: Run, release: Path) -> None:
    assert rack("image", "import", str(release), "--name", "flatcar").code == 0
    assert rack("machine", "arm", "node-01").code == 0
    done = rack("machine", "set", "node-01", "--role", "worker")
    assert done.err == (
        "it stays armed with what was compiled before; anew: `provisioner machine arm node-01`\n"
    )  # fmt: skip
    assert refused(rack("machine", "set", "node-01", "--ip", "10.12.1.12")) == (
        "machine node-01 is armed, and its install names address 10.12.1.11, not 10.12.1.12; "
        "`provisioner machine disarm node-01` first, change it, then arm it again"
    )


def test_the_version_can_be_asked_for(run: Run) -> None:
    done = run("--version")
    assert done.code == 0
    assert done.out.startswith("provisioner ")
