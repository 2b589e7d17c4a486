"""What roles state for DHCP follows their files, without a restart."""

import os
from pathlib import Path

from provisioner.boot.role_options import RoleOptions
from provisioner.boot.roles import Role, RoleFolder
from provisioner.domain.errors import StoreUnavailable

ROLE = "description: A role\nimage: flatcar\nformat: cloud-config\n"


def write(root: Path, role: str, text: str, moment: int) -> None:
    (root / role).mkdir(exist_ok=True)
    path = root / role / "role.yaml"
    path.write_text(ROLE + text)
    # Two writes within one tick of the file system's clock are still two.
    os.utime(path, ns=(moment, moment))


def test_roles_are_read_again_when_they_change(tmp_path: Path) -> None:
    write(tmp_path, "web", "dhcp:\n  mtu: 9000\n", 1)
    write(tmp_path, "plain", "", 1)
    options = RoleOptions(RoleFolder(tmp_path))
    options.refresh()
    assert (options.of("web"), options.of("plain"), options.of("nobody")) == ({26: b"\x23\x28"}, {}, {})
    write(tmp_path, "web", "dhcp:\n  mtu: 1400\n  domain-search: rack.example\n", 2)
    options.refresh()
    assert options.of("web") == {26: b"\x05\x78", 119: b"\x04rack\x07example\x00"}
    write(tmp_path, "web", "dhcp:\n  mtu: broken\n", 3)
    options.refresh()
    assert options.of("web")[26] == b"\x05\x78", "a faulty file keeps what was stated before"
    (tmp_path / "web" / "role.yaml").unlink()
    options.refresh()
    assert options.of("web") == {}


def test_without_a_folder_no_role_states_anything(tmp_path: Path) -> None:
    options = RoleOptions(RoleFolder(tmp_path / "nowhere"))
    options.refresh()
    assert options.of("web") == {}


def test_what_is_activated_counts_and_not_its_draft(tmp_path: Path) -> None:
    write(tmp_path, "web", "dhcp:\n  mtu: 9000\n", 1)
    folder = RoleFolder(tmp_path)
    activated: dict[str, Role] = {}
    options = RoleOptions(folder, lambda: activated)
    options.refresh()
    activated["web"] = folder.get("web")
    write(tmp_path, "web", "dhcp:\n  mtu: 1400\n", 2)
    options.refresh()
    assert options.of("web") == {26: b"\x23\x28"}, "the folder is a draft"
    activated.clear()
    options.refresh()
    assert options.of("web") == {26: b"\x05\x78"}, "it follows its folder again"


def test_while_the_database_is_away_what_was_activated_stays(tmp_path: Path) -> None:
    write(tmp_path, "web", "dhcp:\n  mtu: 9000\n", 1)
    folder = RoleFolder(tmp_path)
    answers = iter([{"web": folder.get("web")}])

    def activated() -> dict[str, Role]:
        for answer in answers:
            return answer
        raise StoreUnavailable("away")

    options = RoleOptions(folder, activated)
    options.refresh()
    write(tmp_path, "web", "dhcp:\n  mtu: 1400\n", 2)
    options.refresh()
    assert options.of("web") == {26: b"\x23\x28"}
