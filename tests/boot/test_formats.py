"""Roles for other publishers' installers: which files are booted, what the kernel is told, what is judged how."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from provisioner.boot import installers, validate
from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.document import InvalidDocument
from provisioner.boot.roles import RoleFolder
from provisioner.domain.errors import Refused
from provisioner.domain.machine import Machine
from tests.boot.rack import SHIPPED, File, Image, inventory, machine

BASE = "http://@@SERVER@@/b/@@INSTALL_TOKEN@@"
PRESEED = """\
# {{ machine.name }}
d-i debian-installer/locale string en_US.UTF-8
d-i netcfg/get_hostname string {{ machine.name|preseed }}
d-i passwd/root-login boolean false
d-i preseed/late_command string \\
  in-target curl --request POST {{ urls.complete }}
"""
USER_DATA = """\
#cloud-config
autoinstall:
  version: 1
  identity:
    hostname: {{ machine.name|yaml }}
    username: ops
    password: "$6$salt$hash"
  late-commands:
    - curl --request POST {{ urls.complete }}
"""
TALOS = """\
version: v1alpha1
machine:
  type: worker
  token: abcdef.0123456789abcdef
  ca: {crt: LS0t}
  install: {disk: /dev/sda}
cluster:
  controlPlane: {endpoint: "https://192.0.2.10:6443"}
  token: abcdef.0123456789abcdef
  ca: {crt: LS0t}
"""

Make = Callable[..., Compiled]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Compiles a role ``web`` of this role.yaml and these templates, from an image of these files."""
    opened: list[RoleCompiler] = []

    def compiled(role: str, image: tuple[str, ...], node: Machine | None = None, **templates: str) -> Compiled:
        folder = tmp_path / str(len(opened))
        (folder / "web").mkdir(parents=True)
        (folder / "_shared").symlink_to(SHIPPED / "_shared")
        (folder / "web" / "role.yaml").write_text(f"description: A role\nimage: os\n{role}")
        for name, text in templates.items():
            (folder / "web" / f"{name}.j2").write_text(text)
        files = Image("os", "12", tuple(File(name) for name in image))
        opened.append(RoleCompiler(RoleFolder(folder), lambda *_: files))
        node = node or machine(1, "web")
        return opened[-1].compile(node, inventory(node))

    yield compiled
    for compiler in opened:
        compiler.close()


def kernel(files: Mapping[str, bytes]) -> str:
    return next(line for line in files["boot.ipxe"].decode().splitlines() if line.startswith("kernel "))


def test_debian_is_answered_by_its_preseed(make: Make) -> None:
    role = "format: preseed\nkernel_arguments: ['hostname={{ machine.name|ipxe }}', console=ttyS0]\n"
    files = make(role, ("linux", "initrd.gz"), **{"preseed.cfg": PRESEED}).files
    assert sorted(files) == ["boot.ipxe", "peers/web", "preseed.cfg"]
    assert kernel(files) == (
        "kernel http://@@SERVER@@:8081/images/os/12/linux initrd=initrd.gz auto=true priority=critical "
        f"url={BASE}/preseed.cfg hostname=node1 console=ttyS0 || goto retry"
    )
    assert b"initrd http://@@SERVER@@:8081/images/os/12/initrd.gz || goto retry" in files["boot.ipxe"]
    assert f"POST {BASE}/complete" in files["preseed.cfg"].decode()


def test_ubuntu_is_answered_by_cloud_inits_data_source(make: Make) -> None:
    role = "format: autoinstall\nkernel_arguments: [ip=dhcp, 'url={{ urls.image }}/{{ role.image.media }}']\n"
    image = ("vmlinuz", "initrd", "ubuntu-24.04-live-server-amd64.iso")
    files = make(role, image, **{"user-data": USER_DATA}).files
    assert kernel(files) == (
        "kernel http://@@SERVER@@:8081/images/os/12/vmlinuz initrd=initrd autoinstall "
        f"cloud-config-url=/dev/null ds=nocloud-net;s={BASE}/ ip=dhcp "
        "url=http://@@SERVER@@:8081/images/os/12/ubuntu-24.04-live-server-amd64.iso || goto retry"
    )
    assert b'local-hostname: "node1"' in files["meta-data"]
    with pytest.raises(Refused, match=r"os 12 lacks ubuntu-24\.04-live-server-amd64\.iso; import it whole"):
        make(role, image[:2], **{"user-data": USER_DATA})


def test_talos_is_told_where_its_configuration_is(make: Make) -> None:
    files = make("format: talos\n", ("vmlinuz-amd64", "initramfs-amd64.xz"), **{"talos.yaml": TALOS}).files
    assert f"talos.platform=metal talos.config={BASE}/talos.yaml" in kernel(files)


def test_a_role_of_no_format_boots_the_files_that_it_names(make: Make) -> None:
    role = "format: none\nboot: {kernel: 'memtest86+*.bin'}\n"
    files = make(role, ("memtest86+x64.bin", "README")).files
    assert kernel(files).startswith("kernel http://@@SERVER@@:8081/images/os/12/memtest86+x64.bin || goto retry")
    assert b"\ninitrd" not in files["boot.ipxe"]


def test_further_files_are_rendered_judged_and_served(make: Make) -> None:
    role = (
        "format: none\nboot: {kernel: vmlinuz, initrd: [one.img, two.img]}\nfiles: [look.sh, look.ign, note]\n"
        "kernel_arguments: ['ignition.config.url={{ urls.files }}/look.ign']\n"
    )
    image = ("vmlinuz", "one.img", "two.img")
    butane = "variant: fcos\nversion: 1.4.0\n"
    files = make(role, image, **{"look.sh": "echo {{ machine.name|sh }}\n", "look.bu": butane, "note": "x"}).files
    assert files["look.sh"] == b"echo node1\n"
    assert b'"version": "3.3.0"' in files["look.ign"]
    assert f"initrd=one.img initrd=two.img ignition.config.url={BASE}/look.ign " in kernel(files)
    with pytest.raises(InvalidDocument) as caught:
        make(role, image, **{"look.sh": "if\n", "look.bu": butane + "a: 1\n", "note": "\n"})
    told = str(caught.value)
    assert "rendered look.sh:2: syntax error" in told
    assert "rendered look.bu:3: a: unknown key" in told
    assert "rendered note: is empty" in told


@pytest.mark.parametrize(
    ("role", "image", "says"),
    [
        ("format: preseed\n", ("vmlinuz",), "has no kernel that can be netbooted; it needs one of: linux; or name"),
        (
            "format: none\nboot: {kernel: 'vm*'}\n",
            ("vm1", "vm2"),
            r"has several files vm\*: vm1, vm2; correct `boot:",
        ),
        ("format: none\nboot: {kernel: vmlinuz}\n", ("linux",), "has no file vmlinuz"),
        ("format: none\nboot: {kernel: a/b}\n", (), "has 'a/b', no file name"),
        ("format: none\nfiles: [boot.ipxe]\n", (), "has 'boot.ipxe', which is there already"),
        ("format: none\nfiles: [../x]\n", (), "has '../x', no file name"),
        ("format: none\nboot: {kernel: k}\nfiles: [x.sh]\n", ("k",), r"web has no x\.sh\.j2; write web/x\.sh\.j2"),
        (
            "format: none\nboot: {kernel: k}\nkernel_arguments: ['a={{ machine.nam }}']\n",
            ("k",),
            "template web/role.yaml, kernel_arguments:1: 'nam' is not defined; did you mean 'name'",
        ),
        (
            "format: none\nboot: {kernel: k}\nkernel_arguments: [quiet, 'a={{ machine.labels.x }}']\n",
            ("k",),
            r"has the kernel argument 'a={{ machine\.labels\.x }}', here 'a=b c': must be one word without blanks",
        ),
        (
            "format: none\nboot: {kernel: k}\nkernel_arguments: ['a={{ machine.labels.y }}']\n",
            ("k",),
            "has 1 kernel arguments, which become 2 lines",
        ),
        (
            f"format: preseed\npayload:\n  - {{path: a, sha256: {'a' * 64}, dest: /opt/a}}\n",
            ("linux", "initrd.gz"),
            "has payload, which install.sh puts in place",
        ),
    ],
)
def test_what_cannot_be_booted_or_served_is_refused_by_name(
    make: Make, role: str, image: tuple[str, ...], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        make(role, image, machine(1, "web", labels={"x": "b c", "y": "b\nc"}), **{"preseed.cfg": PRESEED})


def told(problems: list[validate.Problem]) -> list[str]:
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("d-i a/b string\n", ""),
        ("d-i a/b string x \\\n  y\n# d-i\n\nd-i a/b seen true\n", ""),
        ("tasksel tasksel/first multiselect standard\n", ""),
        ("d-i a/b\n", "p:1: a/b: '' is no type of debconf"),
        ("d-i a/b strin x\n", "p:1: a/b: 'strin' is no type of debconf; there is: boolean"),
        ("d-i a/b boolean yes\n", "p:1: a/b: 'yes' must be true or false"),
        ("hello\n", "p:1: 'hello' is not `owner question type value`"),
        ("d-i a/b string x\n\nd-i a/b string y\n", "p:3: a/b: was answered in line 1 already; keep one"),
        ("d-i a/b string x \\", "p:1: ends in \\ with no line to go on with"),
    ],
)
def test_preseed_lines_are_judged_as_debconf_does(text: str, says: str) -> None:
    found = told(installers.preseed(text, "p"))
    assert found[0].startswith(says) if says else found == []
    if says and "already" not in says and "\\" not in says:
        return
    if (checker := shutil.which("debconf-set-selections")) and not says:
        command = [checker, "--checkonly"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("#cloud-config\n", ""), "u:1: the first line must be `#cloud-config`"),
        (("version: 1", "version: 2"), "u:3: autoinstall.version: 2 should be less than or equal to 1"),
        (
            ("late-commands", "late-command"),
            "u:8: autoinstall.late-command: unknown key; did you mean 'late-commands'",
        ),
        (("$6$salt$hash", "secret"), "u:7: autoinstall.identity.password: 'secret' is no password hash"),
        (("    username: ops\n", ""), "u:4: autoinstall.identity.username: is missing"),
        (("autoinstall:", "hostname: a\nautoinstall:"), "u:2: hostname: unknown key"),
    ],
)
def test_autoinstall_is_judged_by_its_schema(change: tuple[str, str], says: str) -> None:
    good = USER_DATA.replace("{{ machine.name|yaml }}", "node1").replace("{{ urls.complete }}", "http://x/")
    assert installers.user_data(good, "u") == []
    assert told(installers.user_data(good.replace(*change), "u"))[0].startswith(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("type: worker", "type: control"), "t:3: machine.type: 'control' should be 'controlplane' or 'worker'"),
        (("type: worker", "type: controlplane"), "t:2: machine: is a control plane without ca.key"),
        (
            ("ca: {crt: LS0t}\n  install", "ca: {crt: LS0t, key: LS0t}\n  install"),
            "t:2: machine: is a worker and has",
        ),
        (("https://", "http://"), "t:8: cluster.controlPlane.endpoint: 'http://192.0.2.10:6443' is no https URL"),
        (("disk: /dev/sda", "wipe: true"), "t:6: machine.install: names no disk; set disk or diskSelector"),
        (("  install", "  instal"), "t:6: machine.instal: unknown key; did you mean 'install'?"),
        (("abcdef.0123456789abcdef", "abc"), "t:4: machine.token: 'abc' is no token of the form"),
    ],
)
def test_talos_is_judged_by_its_reference(change: tuple[str, str], says: str) -> None:
    assert installers.talos(TALOS, "t") == []
    assert any(line.startswith(says) for line in told(installers.talos(TALOS.replace(*change), "t")))
