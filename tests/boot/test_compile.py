"""Compiling: what a machine gets, what is refused first, and that data stays data in every shipped template."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.boot.compile import RoleCompiler
from provisioner.boot.document import InvalidDocument
from provisioner.boot.render import Renderer
from provisioner.boot.roles import RoleFolder
from provisioner.boot.simulate import simulate
from provisioner.boot.trial import try_role
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Install, State
from tests.boot.rack import FLATCAR, SHIPPED, SUBNET, compiler, inventory, machine

HOUR = 3600 * 1_000_000


@pytest.fixture(scope="module")
def shipped() -> Iterator[RoleCompiler]:
    made = compiler()
    yield made
    made.close()


def role_folder(tmp_path: Path, config: str, role_yaml: str = "", **files: str) -> Path:
    """A role ``web`` over the shipped shared templates."""
    (tmp_path / "web").mkdir()
    (tmp_path / "_shared").symlink_to(SHIPPED / "_shared")
    head = "description: A role\nimage: flatcar\nformat: cloud-config\n"
    (tmp_path / "web" / "role.yaml").write_text(head + role_yaml)
    (tmp_path / "web" / "config.yml.j2").write_text(config)
    for name, text in files.items():
        (tmp_path / "web" / name).write_text(text)
    return tmp_path


def test_a_machine_gets_every_part_and_no_secret(shipped: RoleCompiler) -> None:
    compiled = shipped.compile(machine(1), inventory(machine(1)))
    assert sorted(compiled.files) == [
        "boot.grub",
        "boot.ipxe",
        "config.yml",
        "install.sh",
        "network",
        "peers/simple",
        "pxe.yml",
    ]
    assert (compiled.role, compiled.on_failure, compiled.max_attempts, compiled.wipe) == (
        "simple",
        "disk",
        3,
        False,
    )
    assert b"http://@@SERVER@@/b/@@INSTALL_TOKEN@@/install.sh" in compiled.files["pxe.yml"]
    assert b"http://@@SERVER@@/m/@@MACHINE_TOKEN@@/active" in compiled.files["config.yml"]
    # The installed system's token is in its config only; the install's token is nowhere in it.
    assert b"@@INSTALL_TOKEN@@" not in compiled.files["config.yml"]
    assert all(b"@@MACHINE_TOKEN@@" not in data for name, data in compiled.files.items() if name != "config.yml")
    assert set(compiled.role_files) >= {"role.yaml", "config.yml.j2", "_shared/install.sh.j2"}


def test_compiling_again_gives_the_same_bytes(shipped: RoleCompiler) -> None:
    one = shipped.compile(machine(1), inventory(machine(1)))
    assert dict(shipped.compile(machine(1), inventory(machine(1))).files) == dict(one.files)


def test_peers_are_the_members_of_the_cluster_that_have_addresses(shipped: RoleCompiler) -> None:
    rack = [
        machine(1, "worker", cluster="blue"),
        machine(2, "worker", cluster="blue"),
        machine(3, "worker", cluster="blue", address=False),
        machine(4, "simple", cluster="blue"),
        machine(5, "worker", cluster="green"),
    ]
    compiled = shipped.compile(rack[0], inventory(*rack))
    assert compiled.files["peers/worker"] == b"10.12.1.1 node1\n10.12.1.2 node2\n"
    assert compiled.files["peers/simple"] == b"10.12.1.4 node4\n"
    assert compiled.warnings[0] == "node3 of cluster blue has no address yet and is not among the peers"


def test_a_machine_without_a_cluster_is_its_own_only_peer(shipped: RoleCompiler) -> None:
    compiled = shipped.compile(machine(1, "worker"), inventory(machine(1, "worker"), machine(2, "worker")))
    assert compiled.files["peers/worker"] == b"10.12.1.1 node1\n"


def test_what_is_missing_is_named_with_the_command_that_helps(shipped: RoleCompiler) -> None:
    for node, subnet, says in (
        (machine(1, ""), SUBNET, "node1 has no role; `provisioner machine set node1 --role R`"),
        (machine(1, "simpel"), SUBNET, "no role 'simpel'; there is: "),
        (machine(1, address=False), SUBNET, "node1 has no address; `provisioner machine set node1 --ip ADDRESS`"),
        (machine(1), None, "10.12.1.1 of machine node1 lies in no subnet; `provisioner subnet add PREFIX"),
        (machine(1, params={"keys": "x"}), SUBNET, "is no parameter of role simple; there is: ssh_authorized_keys"),
    ):
        with pytest.raises(Refused) as caught:
            shipped.compile(node, inventory(node, subnet=subnet))
        assert says in str(caught.value)


def test_a_missing_or_damaged_image_is_named_with_its_command() -> None:
    def none(name: str, version: str | None) -> object:
        raise NotFound("image", name)

    for lookup, says in (
        (none, "role simple installs image flatcar, which is not imported; `provisioner image import DIR --name"),
        (lambda *_: replace(FLATCAR, problems=("x is missing",)), "flatcar 3815.2.0 cannot be used: x is missing"),
    ):
        made = RoleCompiler(RoleFolder(SHIPPED), lookup)  # type: ignore[arg-type]
        with pytest.raises(Refused) as caught:
            made.compile(machine(1), inventory(machine(1)))
        assert says in str(caught.value)


def test_a_result_that_is_no_valid_config_is_refused_with_every_fault(tmp_path: Path) -> None:
    config = (
        "#cloud-config\nhostnam: {{ machine.name|yaml }}\ncoreos:\n  units:\n    - name: a\n      command: start\n"
    )
    made = compiler(role_folder(tmp_path, config, **{"network.j2": "[Match]\nName=x\nbroken\n"}))
    try:
        with pytest.raises(InvalidDocument) as caught:
            made.compile(machine(1, "web"), inventory(machine(1, "web")))
    finally:
        made.close()
    assert [str(problem) for problem in caught.value.problems] == [
        "web, rendered config.yml:2: hostnam: unknown key; did you mean 'hostname'?",
        "web, rendered config.yml:5: coreos.units[0].name: 'a' is not a unit name; "
        "it ends in .service, .timer, .network or another type of unit",
        "web, rendered network:3: 'broken' is neither [Section] nor Key=Value",
    ]
    assert "`provisioner role validate web`" in str(caught.value)


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = role_folder(tmp_path, "#cloud-config\n")
    (folder / "web" / "config.yml.j2").unlink()
    made = compiler(folder)
    node = machine(1, "web")
    try:
        with pytest.raises(Refused, match=r"web has no config\.yml\.j2; write web/config\.yml\.j2"):
            made.compile(node, inventory(node))
    finally:
        made.close()


@pytest.mark.rule("threat-07")
@pytest.mark.parametrize("place", ["name", "labels", "params", "domain"])
def test_a_fact_that_could_not_stand_anywhere_is_refused(shipped: RoleCompiler, place: str) -> None:
    node, subnet = machine(1), SUBNET
    match place:
        case "name":
            node = machine(1, name="a\nb")
        case "labels":
            node = machine(1, labels={"x": "@@MACHINE_TOKEN@@"})
        case "params":
            node = machine(1, params={"ssh_authorized_keys": ["k @@INSTALL_TOKEN@@"]})
        case "domain":
            subnet = replace(SUBNET, domain="a\nDNS=6.6.6.6")
    with pytest.raises(Refused):
        shipped.compile(node, inventory(node, subnet=subnet))


def test_every_shipped_role_passes_its_trial_even_without_an_image() -> None:
    def none(name: str, version: str | None) -> object:
        raise NotFound("image", name)

    with closing(Renderer()) as renderer:
        tried = [
            try_role(RoleFolder(SHIPPED), name, none, renderer=renderer)  # type: ignore[arg-type]
            for name in RoleFolder(SHIPPED).names()
        ]
    assert [compiled.role for compiled, _ in tried] == RoleFolder(SHIPPED).names()
    for _, warnings in tried:
        assert all("checked with an example" in warning for warning in warnings)
        assert "checked with an example" in warnings[0]


def test_simulate_shows_what_arming_would_freeze_and_then_what_it_froze(shipped: RoleCompiler) -> None:
    node = replace(machine(1), state=State.READY)
    shown = simulate(shipped, inventory(node), node, now=0)
    assert (shown["action"], shown["install"]) == ("disk", None)
    assert "sanboot" in shown["boot_script"]
    preview = shown["if_armed"]
    assert preview["kernel_line"].startswith("initrd=flatcar_production_pxe_image.cpio.gz flatcar.first_boot=1 ")
    assert preview["kernel_line"].endswith(" console=tty0 console=ttyS0,115200")

    compiled = shipped.compile(node, inventory(node))
    install = Install(UUID(int=1), "simple", compiled.revision, "", armed_at=0, deadline=HOUR, files=compiled.files)
    armed = replace(node, state=State.ARMED, install=install)
    shown = simulate(shipped, inventory(armed), armed, now=1)
    assert (shown["action"], shown["if_armed"]) == ("install", None)
    assert shown["boot_script"].encode() == compiled.files["boot.ipxe"]
    assert shown["install"] == {key: value for key, value in preview.items() if key != "warnings"}
    assert "@@INSTALL_TOKEN@@" in shown["boot_script"]
    by_grub = simulate(shipped, inventory(armed), replace(armed, labels={"loader": "shimx64.efi"}), now=1)
    assert by_grub["boot_script"].encode() == compiled.files["boot.grub"]


def test_simulate_says_why_a_machine_could_not_be_armed(shipped: RoleCompiler) -> None:
    node = machine(1, "", address=False)
    shown = simulate(shipped, inventory(node), node, now=0)
    assert shown["if_armed"]["refused"] == "machine node1 has no role"
    stranger = simulate(shipped, inventory(), None, now=0)
    assert stranger["machine"] is None
    assert "unknown MAC" in stranger["reason"]


def test_the_operator_may_allow_foreign_data_to_be_lost_for_one_install(shipped: RoleCompiler) -> None:
    one = machine(1)
    install = Install(UUID(int=9), "simple", "r", "t", armed_at=0, deadline=1, wipe=True)
    rack = inventory(one)
    assert b"wipe=never" in shipped.compile(one, rack).files["install.sh"]
    allowed = shipped.compile(replace(one, install=install), rack)
    assert b"wipe=foreign" in allowed.files["install.sh"]
    assert allowed.wipe
    ended = shipped.compile(replace(one, install=replace(install, outcome="complete")), rack)
    assert b"wipe=never" in ended.files["install.sh"], "an earlier permission is not one for now"


def test_the_role_that_discovers_boots_its_image_and_nothing_of_an_install(tmp_path: Path) -> None:
    made = compiler(tmp_path)
    assert made.discovery() is None
    (tmp_path / "discover").mkdir()
    role = tmp_path / "discover" / "role.yaml"
    role.write_text("description: Looks\nimage: flatcar\nformat: none\nkernel_arguments: [console=ttyS0]\n")
    script = (made.discovery() or b"").decode()
    assert "kernel http://@@SERVER@@:8081/images/flatcar/3815.2.0/flatcar_production_pxe.vmlinuz " in script
    assert "provisioner.url=http://@@SERVER@@ console=ttyS0 || goto failed" in script
    assert "TOKEN" not in script
    role.write_text("description: Looks\nimage: flatcar\nformat: cloud-config\n")
    with pytest.raises(Refused, match=r"write `format: none` in its role\.yaml"):
        made.discovery()


def test_a_live_system_is_compiled_for_its_machine_whatever_that_is_to_become(shipped: RoleCompiler) -> None:
    keys = {"ssh_authorized_keys": ["ssh-ed25519 AAAA ada"], "of_another_role": "x"}
    node = machine(1, "worker", params=keys)
    files = shipped.live("rescue", node, inventory(node))
    assert b"echo Provisioner: node1 boots into memory role rescue" in files["boot.ipxe"]
    assert b"cloud-config-url=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/rescue.yml" in files["boot.ipxe"]
    assert b"ssh-ed25519 AAAA ada" in files["rescue.yml"]
    assert b"/b/@@INSTALL_TOKEN@@/log" in shipped.live("discover", node, inventory(node))["install.sh"]
    with pytest.raises(Refused, match="role simple installs, and is not booted from memory"):
        shipped.live("simple", node, inventory(node))
    with pytest.raises(NotFound, match="no role 'nothing'"):
        shipped.live("nothing", node, inventory(node))


def test_a_menu_shows_a_role_as_it_describes_itself_or_why_it_cannot_be_had(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "rescue", tmp_path / "rescue")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "role.yaml").write_text("descripton: x\n")
    made = compiler(tmp_path)
    rescue, broken, gone = (made.offer(role) for role in ("rescue", "broken", "gone"))
    assert (rescue.in_memory, rescue.fault) == (True, "")
    assert rescue.description.startswith("A live Flatcar in memory")
    assert "unknown key" in broken.fault
    assert "no role 'gone'" in gone.fault


def test_simulate_shows_the_menu_and_the_live_system_that_a_boot_leads_to(shipped: RoleCompiler) -> None:
    node = replace(machine(1), state=State.ACTIVE)
    rack = Inventory.build([node], [replace(SUBNET, menu="rescue;worker", menu_seconds=5)])
    shown = simulate(shipped, rack, node, now=0)
    assert (shown["action"], shown["menu"]["roles"], shown["menu"]["seconds"]) == ("disk", ["rescue", "worker"], 5)
    assert "/menu/@@MENU_PASS@@/${choice}?mac=52-54-00-12-34-01" in shown["menu"]["script"]
    wanted = replace(node, live="rescue")
    shown = simulate(shipped, inventory(wanted), wanted, now=0)
    assert (shown["action"], shown["menu"], shown["live"]["role"]) == ("rescue", None, "rescue")
    assert shown["boot_script"] == shipped.live("rescue", wanted, inventory(wanted))["boot.ipxe"].decode()
    shown = simulate(shipped, inventory(wanted), replace(wanted, live="memtest"), now=0)
    assert "role memtest cannot be booted" in shown["reason"] and "kernel" not in shown["boot_script"]
