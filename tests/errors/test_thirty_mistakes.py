"""Thirty mistakes of somebody new, each with the exact sentence it gets.

Read them aloud: field, value, why, and what to type next. All by the real command line, in this process.
"""

import io
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.errors.conftest import refused

HERE = "`provisioner machine show node-01` shows it; change it there or give another one here"


SHIPPED = Path(__file__).parents[2] / "cloud_configs"

ADD = ("machine", "add", "--name", "node-02", "--mac", "52:54:00:00:00:02")

MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # -- subnets
    "a prefix that is none": (
        ("subnet", "add", "10.12.2.0/33"),
        "prefix '10.12.2.0/33' is not a network; write it like 10.12.1.0/24",
    ),
    "an address instead of the prefix": (
        ("subnet", "add", "10.12.2.5/24"),
        "prefix '10.12.2.5/24' has host bits set; did you mean 10.12.2.0/24?",
    ),
    "a gateway outside": (
        ("subnet", "add", "10.12.2.0/24", "--gateway", "10.13.0.1"),
        "gateway '10.13.0.1' is not in 10.12.2.0/24; give an address of this subnet",
    ),
    "a subnet within another": (
        ("subnet", "add", "10.12.1.128/25"),
        "prefix '10.12.1.128/25' overlaps the subnet 10.12.1.0/24; "
        "use that one, or `provisioner subnet remove 10.12.1.0/24` first",
    ),
    "a subnet that is in use": (
        ("subnet", "remove", "10.12.1.0/24"),
        "subnet '10.12.1.0/24' is used by machine node-01 (10.12.1.11); give what has addresses in it others first",
    ),
    # -- machines
    "a name with an underscore": (
        ("machine", "add", "--name", "node_02", "--mac", "52:54:00:00:00:02"),
        "name 'node_02' is not a host name; did you mean node-02? "
        "use 1 to 63 lower-case letters, digits and hyphens, like node-17",
    ),
    "a MAC cut short": (
        ("machine", "add", "--name", "node-02", "--mac", "52:54:00:00:02"),
        "mac '52:54:00:00:02' is not a MAC address; write six pairs of hexadecimal digits, like 52:54:00:12:34:56",
    ),
    "a MAC listed twice, spelt otherwise": (
        ("machine", "add", "--name", "node-02", "--mac", "5254.0000.0001"),
        f"mac '52:54:00:00:00:01' already belongs to machine node-01; {HERE}",
    ),
    "an address listed twice": (
        (*ADD, "--ip", "10.12.1.11"),
        f"ip '10.12.1.11' already belongs to machine node-01; {HERE}",
    ),
    "the gateway's address": (
        (*ADD, "--ip", "10.12.1.1"),
        "ip '10.12.1.1' is the gateway of 10.12.1.0/24; choose another address",
    ),
    "no address": (
        (*ADD, "--ip", "10.12.1.300"),
        "ip '10.12.1.300' is not an IP address; write it like 10.12.1.17",
    ),
    "the broadcast address": (
        (*ADD, "--ip", "10.12.1.255"),
        "ip '10.12.1.255' is the network or broadcast address of 10.12.1.0/24; choose a host address",
    ),
    "a name listed twice": (
        ("machine", "add", "--name", "node-01", "--mac", "52:54:00:00:00:02"),
        f"name 'node-01' already belongs to machine node-01; {HERE}",
    ),
    "a machine that is not listed": (
        ("machine", "arm", "node-77"),
        "no machine 'node-77'; `provisioner machine list` shows what there is",
    ),
    "nothing to change": (
        ("machine", "set", "node-01"),
        "nothing to change; name a field, like --role simple",
    ),
    "a log of a machine that sent none": (
        ("machine", "log", "node-01"),
        "machine node-01 has sent no log; it sends one at the end of an install or on failure",
    ),
    "power without a BMC": (
        ("machine", "power", "on", "node-01"),
        "machine node-01 has no BMC; `provisioner machine set node-01 --bmc ADDRESS`",
    ),
    "a power operation that is none": (
        ("machine", "power", "explode", "node-01"),
        "operation 'explode' is not known; choose one of on, off, cycle, reset, status",
    ),
    "an install without a BMC": (
        ("machine", "install", "node-01"),
        "machine node-01 has no BMC; `provisioner machine set node-01 --bmc ADDRESS`",
    ),
    "an image that is not imported": (
        ("machine", "arm", "node-01"),
        "role simple installs image flatcar, which is not imported; `provisioner image import DIR --name flatcar`",
    ),
    # -- images and roles
    "a folder that is not there": (
        ("image", "import", "/nowhere", "--name", "flatcar"),
        "source '/nowhere' is not there; name a folder with a publisher's files, or the files themselves",
    ),
    "a machine that simulate does not know": (
        ("simulate", "node-77"),
        "no machine 'node-77'; `provisioner machine list` shows what there is",
    ),
    # -- BMCs
    "no BMC to harvest": (
        ("bmc", "harvest"),
        "no BMC is listed; `provisioner bmc add ADDRESS --user U --password-stdin` first",
    ),
    "a BMC on this very host": (
        ("bmc", "add", "127.0.0.1"),
        "address '127.0.0.1' cannot be a BMC's; give the address the BMC has on its network",
    ),
    # -- the appliance
    "no wire named": (
        ("serve",),
        "no interface is configured; name the wire: `provisioner serve --interface eth1`",
    ),
    "a service that is none": (
        ("serve", "--only", "dhcp"),
        "service 'dhcp' is not known; choose one of packets, web, images, bmc",
    ),
    "a backup that is not there": (
        ("db", "restore", "/nowhere.tar"),
        "backup '/nowhere.tar' is not there; check the path",
    ),
    "a settings file that is not there": (
        ("machine", "list", "--config", "/nowhere.toml"),
        "settings file /nowhere.toml cannot be read (No such file or directory); check --config",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_and_its_sentence(rack: Run, words: tuple[str, ...], sentence: str) -> None:
    assert refused(rack(*words)) == sentence


FILES = {
    "semicolons": (
        "name;mac;ip\nnode-02;52:54:00:00:00:02;10.12.1.12\n",
        "line 1: the columns are separated by ';', and must be by commas: save it as CSV with commas",
    ),
    "a misspelt column": (
        "name,mac,adress,unitt\n",
        "line 1: column 'adress' is not known; known columns: ",
    ),
    "a nearly right column": (
        "name,mac,rolle\n",
        "line 1: column 'rolle' is not known; did you mean role? known columns: name, mac, ",
    ),
    "one MAC for two": (
        "name,mac\nnode-02,52:54:00:00:00:02\nnode-03,52-54-00-00-00-02\n",
        "line 3: mac '52:54:00:00:00:02' is on line 2 already; each machine has its own",
    ),
    "a MAC that a spreadsheet took for a number": (
        "name,mac\nnode-02,5.2E+11\n",
        "line 2: mac '5.2E+11' is a number that a spreadsheet made of a MAC address; make that column text there; "
        "write six pairs of hexadecimal digits, like 52:54:00:12:34:56",
    ),
    "two faulty lines": (
        "name,mac,ip\nnode-02,52:54:00:00:00:02,10.12.1.300\nnode-03,zz,\n",
        "line 2: ip '10.12.1.300' is not an IP address; write it like 10.12.1.17\n"
        "line 3: mac 'zz' is not a MAC address; write six pairs of hexadecimal digits, like 52:54:00:12:34:56",
    ),
}


@pytest.mark.parametrize(("text", "lines"), FILES.values(), ids=FILES.keys())
def test_a_file_with_mistakes_changes_nothing(rack: Run, tmp_path: Path, text: str, lines: str) -> None:
    file = tmp_path / "rack.csv"
    file.write_text(text)
    said = refused(rack("machine", "import", str(file)))
    heading, _, told = said.partition("\n")
    many = len(lines.splitlines())
    assert heading == f"nothing was imported, {'1 line is' if many == 1 else f'{many} lines are'} wrong:"
    assert told.startswith(lines)
    assert [machine["name"] for machine in rack("machine", "list", "--json").json] == ["node-01"]


SETTINGS = {
    "a misspelt setting": (
        'data_dri = "/x"',
        "setting 'data_dri' in {file} is not known; did you mean data_dir? known settings: address, ",
    ),
    "text without quotes": (
        "interface = eth1",
        "settings file {file} is not valid TOML: Invalid value (at line 1, column 13); "
        'mend that line; text stands in quotes, like interface = "eth1"',
    ),
    "both ways to name a wire": (
        'interface = "eth1"\n[[interfaces]]\nname = "eth2"',
        "the settings contradict each other: give either interface (and address) or [[interfaces]], not both; "
        "mend {file}",
    ),
    "another database": (
        'database_url = "mysql://x"',
        "database_url 'mysql://x' is neither SQLite nor PostgreSQL; "
        "write sqlite:////var/lib/provisioner/db.sqlite or postgresql://user@host/db",
    ),
    "a data_dir that is a file": (
        'data_dir = "{file}/x"',
        "data_dir '{file}/x' cannot be made (Not a directory); "
        "run as root, or set data_dir in --config or PROVISIONER_DATA_DIR",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_settings_file_with_a_mistake(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.delenv("PROVISIONER_DATA_DIR")
    file = tmp_path / "p.toml"
    file.write_text(text.replace("{file}", str(file)))
    if "database_url" in text:
        monkeypatch.setenv("PROVISIONER_DATA_DIR", str(tmp_path / "data"))
    assert refused(run("--config", str(file), "machine", "list")).startswith(sentence.replace("{file}", str(file)))


def test_a_role_misspelt(rack: Run) -> None:
    said = refused(rack("machine", "set", "node-01", "--role", "simpel"))
    assert said.startswith("role 'simpel' does not exist; did you mean simple? roles: ")


def test_a_role_with_an_undefined_variable_names_file_and_line(
    rack: Run, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = tmp_path / "roles"
    shutil.copytree(SHIPPED, roles)
    (roles / "simple" / "config.yml.j2").write_text("#cloud-config\nhostname: {{ machine.nmae }}\n")
    monkeypatch.setenv("PROVISIONER_CLOUD_CONFIGS", str(roles))
    assert rack("image", "import", str(release), "--name", "flatcar").code == 0
    done = rack("role", "validate", "simple")
    assert done.code == 1
    assert done.err == (
        "simple: template simple/config.yml.j2:2: 'nmae' is not defined; did you mean 'name'? There is: "
        "dns, domain, gateway, ip, labels, mac, name, ntp, prefixlen, serial, slot; "
        "correct it and check with `provisioner role validate simple`\n"
    )


def test_a_role_folder_without_its_description(rack: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roles" / "bare").mkdir(parents=True)
    monkeypatch.setenv("PROVISIONER_CLOUD_CONFIGS", str(tmp_path / "roles"))
    done = rack("role", "validate", "bare")
    assert done.code == 1
    assert done.err == (
        f"bare: role 'bare' has no role.yaml in {tmp_path / 'roles/bare'}; "
        "copy another role's and edit it; description, image and format must be there\n"
    )


def test_a_bmc_without_its_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert refused(run("bmc", "add", "10.12.200.17", "--user", "admin")) == (
        "the password of admin at 10.12.200.17 is missing; give it on standard input, or --password-file FILE"
    )


def test_a_password_that_is_too_short(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    said = refused(run("user", "add", "kim", "--password-stdin"))
    assert said == "password '…' is too short; use 10 to 1000 characters; a phrase is fine"


def test_an_interface_that_does_not_exist_names_those_that_do(run: Run) -> None:
    said = refused(run("serve", "--interface", "eht0"))
    assert said.startswith("interface 'eht0' does not exist; interfaces here: ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("machine", "ad"), "Did you mean 'add'?"), (("frobnicate",), "No such command 'frobnicate'")],
    ids=["nearly", "not-at-all"],
)
def test_a_command_that_is_none_is_usage(run: Run, words: tuple[str, ...], hint: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert hint in done.err
