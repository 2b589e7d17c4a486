"""Role folders: what is read, what is refused with its place, what a revision covers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.boot import roles
from provisioner.boot.document import InvalidDocument
from provisioner.boot.role_file import Parameter
from provisioner.boot.roles import RoleFolder
from provisioner.domain.errors import NotFound, Refused
from tests.boot.rack import SHIPPED

GOOD = """\
description: A role
image: flatcar
format: cloud-config
"""


def folder(tmp_path: Path, text: str, **files: str) -> RoleFolder:
    (tmp_path / "_shared").mkdir(parents=True)
    (tmp_path / "_shared" / "network.j2").write_text("shared")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "role.yaml").write_text(text)
    for name, content in files.items():
        (tmp_path / "web" / name).write_text(content)
    return RoleFolder(tmp_path)


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        folder(tmp_path, text).get("web")
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_roles_are_there_and_read() -> None:
    shipped = RoleFolder(SHIPPED)
    assert {"simple", "worker", "fedora-coreos"} <= set(shipped.names())
    # Talos installs itself and asks nobody about the disk; every other role refuses foreign data.
    wiping = {name for name in shipped.names() if shipped.get(name).settings.wipe != "never"}
    assert wiping == {"talos-controlplane", "talos-worker"}


def test_what_a_role_leaves_out_has_the_safe_value(tmp_path: Path) -> None:
    settings = folder(tmp_path, GOOD).get("web").settings
    assert (settings.wipe, settings.arm, settings.on_failure) == ("never", "manual", "disk")
    assert (settings.max_attempts, settings.autologin, settings.image_version) == (3, False, "")
    assert (settings.install_disk.rule, settings.install_disk.min_bytes) == ("smallest", 2**30)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD + "autologn: true\n", "web/role.yaml:4: autologn: unknown key; did you mean 'autologin'?"),
        (GOOD + "autologin: yes\n", "web/role.yaml:4: autologin: 'yes' must be true or false"),
        (
            GOOD + "dhcp:\n  mtu: 90\n",
            "web/role.yaml:4: dhcp: has an option that cannot be sent: option 'mtu=90' is no MTU "
            "from 576 to 65535; write it like mtu=9000",
        ),
        (GOOD + "max_attempts: 0\n", "web/role.yaml:4: max_attempts: 0 should be greater than or equal to 1"),
        (GOOD + "wipe: maybe\n", "web/role.yaml:4: wipe: 'maybe' should be 'never', 'foreign' or 'always'"),
        (GOOD + "image_version: 3.10\n", "web/role.yaml:4: image_version: 3.1 must be text; put quotes around it"),
        (
            GOOD + "install_disk:\n  rule: biggest\n",
            "web/role.yaml:5: install_disk.rule: 'biggest' is no disk rule; "
            "write smallest, largest, first, by-id:GLOB or /dev/NAME",
        ),
        (
            GOOD + "install_disk:\n  min_size: 8GB\n",
            "web/role.yaml:5: install_disk.min_size: '8GB' is no size; "
            "write a number with MiB, GiB or TiB, like 8GiB",
        ),
        (
            GOOD + "kernel_arguments:\n  - console=tty0\n  - quiet && shell\n",
            "web/role.yaml:4: kernel_arguments: has the argument 'quiet && shell': "
            "the character '&' would be interpreted by iPXE",
        ),
        (
            GOOD + "parameters:\n  size:\n    type: integer\n    default: big\n",
            "web/role.yaml:5: parameters.size: has the default 'big', which is not a whole number",
        ),
        (
            GOOD + "parameters:\n  size:\n    typ: integer\n",
            "web/role.yaml:6: parameters.size.typ: unknown key; did you mean 'type'?",
        ),
        (
            GOOD + f"payload:\n  - path: ../etc/passwd\n    sha256: {'a' * 64}\n    dest: /opt/x\n",
            "web/role.yaml:5: payload[0].path: '../etc/passwd' is no path below the payload folder; "
            "use letters, digits and . _ + ~ - between /",
        ),
        (
            GOOD + f"payload:\n  - path: x\n    sha256: {'a' * 64}\n    dest: /usr/bin/x\n",
            "web/role.yaml:7: payload[0].dest: '/usr/bin/x' lies below /usr, "
            "which is read-only on the installed system; use /opt or /var",
        ),
        ("image: flatcar\nformat: cloud-config\n", "web/role.yaml: description: is missing"),
        (GOOD + "\twipe: never\n", "web/role.yaml:4: indented with a tab; YAML wants spaces"),
        (GOOD + "image: other\n", "web/role.yaml:4: image: is written twice; keep one"),
        (GOOD + "---\nimage: x\n", "web/role.yaml:4: a second document begins here (`---`); a file holds one"),
        ("- a\n", "web/role.yaml:1: holds no mapping; write `key: value` lines"),
    ],
)
def test_a_fault_in_role_yaml_has_file_line_key_and_remedy(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, "image: 5\nwipe: maybe\nautologn: true\n")) == 5


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    layers = "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert faults(tmp_path, "a: &a [x]\n" + layers) == [
        "web/role.yaml: unfolds to more than 50000 values; use fewer aliases"
    ]


def test_an_unknown_role_says_which_there_are(tmp_path: Path) -> None:
    for name in ("db", "../web", "_shared", ""):
        with pytest.raises(NotFound, match="there is: web"):
            folder(tmp_path / name.strip("./") / "x", GOOD).get(name)


@pytest.mark.rule("threat-09")
def test_a_symbolic_link_in_a_role_is_refused(tmp_path: Path) -> None:
    made = folder(tmp_path, GOOD)
    (tmp_path / "web" / "config.yml.j2").symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="symbolic link"):
        made.get("web")


def test_a_revision_covers_own_and_shared_files_but_not_an_editors_leftovers(tmp_path: Path) -> None:
    made = folder(tmp_path, GOOD, **{"config.yml.j2": "a"})
    first = made.get("web").revision
    (tmp_path / "web" / "config.yml.j2~").write_text("old")
    (tmp_path / "web" / ".config.yml.j2.swp").write_text("old")
    assert made.get("web").revision == first
    (tmp_path / "web" / "config.yml.j2").write_text("b")
    second = made.get("web").revision
    (tmp_path / "_shared" / "network.j2").write_text("changed")
    assert len({first, second, made.get("web").revision}) == 3


def test_a_roles_own_template_wins_over_the_shared_one(tmp_path: Path) -> None:
    made = folder(tmp_path, GOOD, **{"network.j2": "own"})
    templates = made.get("web").templates
    assert templates["network.j2"] == "own"
    assert templates["_shared/network.j2"] == "shared"


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "a", "a"),
        ("string", 5, "5"),
        ("integer", "-5", -5),
        ("boolean", "true", True),
        ("boolean", False, False),
        ("list", "a, b", ["a", "b"]),
        ("list", ["a,b"], ["a,b"]),
        ("map", "a=b,c=d=e", {"a": "b", "c": "d=e"}),
        ("map", {"a": "b"}, {"a": "b"}),
    ],
)
def test_a_parameter_is_read_as_its_type(kind: str, given: object, value: object) -> None:
    assert roles.typed(Parameter.model_validate({"type": kind}), given) == value


@pytest.mark.parametrize(
    ("kind", "given"),
    [("string", ["a"]), ("integer", "5x"), ("integer", True), ("boolean", "yes"), ("list", [1]), ("map", "a")],
)
def test_a_parameter_of_another_type_is_refused(kind: str, given: object) -> None:
    with pytest.raises(ValueError, match="is not"):
        roles.typed(Parameter.model_validate({"type": kind}), given)


def test_parameters_unknown_missing_or_wrong_are_named_with_the_command(tmp_path: Path) -> None:
    text = GOOD + "parameters:\n  size: {type: integer}\n  key: {required: true}\n  zone: {default: a}\n"
    role = folder(tmp_path, text).get("web")
    with pytest.raises(InvalidDocument) as caught:
        roles.parameters(role, {"sice": 1, "size": "big"})
    assert [str(problem) for problem in caught.value.problems] == [
        "web/role.yaml:6: parameters.key: is required and not set",
        "web/role.yaml:4: parameters.sice: is no parameter of role web; there is: size, key, zone",
        "web/role.yaml:5: parameters.size: 'big' is not a whole number",
    ]
    assert "machine set MACHINE --param" in caught.value.remedy
    assert roles.parameters(role, {"key": "k"}) == {"key": "k", "zone": "a"}


def test_a_folder_that_git_manages_is_followed_from_commit_to_commit(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    shutil.copytree(SHIPPED / "_shared", tmp_path / "_shared")
    shutil.copytree(SHIPPED / "simple", tmp_path / "simple")
    git("add", "-A")
    git("commit", "-qm", "one")
    folder = RoleFolder(tmp_path)
    one = folder.get("simple").revision
    config = tmp_path / "simple" / "config.yml.j2"
    config.write_text(config.read_text() + "# more\n")
    two = folder.get("simple").revision
    git("commit", "-qam", "two")
    assert (folder.names(), folder.get("simple").revision) == (["simple"], two), "a commit alone changes nothing"
    git("checkout", "-q", "HEAD~1")
    assert folder.get("simple").revision == one != two
