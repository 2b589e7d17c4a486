"""What holds for every shipped role: it renders and validates for a cluster, its scripts and units are sound to the
tools of their trade, and its README says what can be set. A new folder is tested by being there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.boot.rack import SHIPPED
from tests.cloud_configs.shipped import FOLDER, NAMES, Written, rendered, scripts, written

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
CLOUD = [name for name in NAMES if FOLDER.get(name).settings.format == "cloud-config"]
SYSTEMD = [name for name in NAMES if FOLDER.get(name).settings.format in ("cloud-config", "butane", "ignition")]
READER = ROOT / "netboot_assets" / "lab-image" / "coreos_cloudinit.py"


@pytest.mark.parametrize("role", NAMES)
def test_it_renders_and_validates_for_three_machines_without_a_warning(role: str) -> None:
    made = rendered(role)
    assert [compiled.warnings for compiled in made] == [(), (), ()]
    for number, compiled in enumerate(made, start=1):
        assert any(f"node{number}".encode() in data for data in compiled.files.values())


@pytest.mark.parametrize("role", NAMES)
def test_its_readme_tells_every_parameter(role: str) -> None:
    readme = (SHIPPED / role / "README.md").read_text()
    assert readme.startswith(f"# {role}\n")
    for name in FOLDER.get(role).settings.parameters:
        assert f"`{name}`" in readme, f"{role}/README.md does not tell {name}"


@pytest.mark.system
def test_bash_and_shellcheck_find_nothing_in_any_script(tmp_path: Path) -> None:
    seen: dict[str, Path] = {}
    for role in NAMES:
        for path, text in scripts(role).items():
            # install.sh differs by a name and a revision: one of each kind of system will do.
            name = Path(path).name
            same = (name, FOLDER.get(role).settings.image) if name == "install.sh" else text
            file = tmp_path / f"{len(seen)}-{role}-{name}"
            if seen.setdefault(str(same), file) is file:
                file.write_text(text)
                subprocess.run(["bash" if "bash" in text[:16] else "sh", "-n", file], timeout=20, check=True)
    assert len(seen) > 20
    run = subprocess.run(["shellcheck", *seen.values()], capture_output=True, text=True, timeout=180, check=False)
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.system
@pytest.mark.parametrize("role", [name for name in SYSTEMD if name not in CLOUD])
def test_the_publishers_validator_accepts_its_ignition(role: str, tmp_path: Path) -> None:
    for part in ("pxe.ign", "ignition.json"):
        file = tmp_path / part
        file.write_bytes(rendered(role)[0].files[part])
        run = subprocess.run(["ignition-validate", file], capture_output=True, text=True, timeout=20, check=False)
        assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.system
@pytest.mark.parametrize("role", SYSTEMD)
def test_systemd_accepts_its_units(role: str, tmp_path: Path) -> None:
    units = [file for file in written(rendered(role)[0].files) if file.unit]
    named = {unit.path for unit in units if ".d/" not in unit.path}
    assert named
    _tree(tmp_path, units)
    command = ["systemd-analyze", f"--root={tmp_path}", "--man=no", "verify", *sorted(named)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.system
@pytest.mark.parametrize("part", ["pxe.yml", "config.yml"])
@pytest.mark.parametrize("role", CLOUD)
def test_the_labs_reader_which_shares_no_code_finds_no_fault(role: str, part: str, tmp_path: Path) -> None:
    files = rendered(role)[0].files
    file = tmp_path / part
    file.write_bytes(files[part])
    command = ["/usr/bin/python3", str(READER), "--from-file", str(file), "--validate"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def _tree(root: Path, units: list[Written]) -> None:
    """A root that holds the units, and stand-ins for the programs and units of the image that they name."""
    for unit in units:
        file = root / unit.path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(unit.text)
        for program in re.findall(r"^Exec\w+=[-@:+!]*(/\S+)", unit.text, re.M):
            stand_in = root / program.lstrip("/")
            stand_in.parent.mkdir(parents=True, exist_ok=True)
            stand_in.touch(mode=0o755)
    system = root / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    texts = "\n".join(unit.text for unit in units)
    mentioned = set(re.findall(r"[\w@-]+\.(?:service|target|socket)", texts))
    mentioned |= {unit.path.split("/")[-2].removesuffix(".d") for unit in units if ".d/" in unit.path}
    mentioned |= {"basic.target", "sysinit.target", "shutdown.target"}
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/true").touch(mode=0o755)
    for name in mentioned:
        if not (root / "etc/systemd/system" / name).exists():
            body = "[Service]\nExecStart=/usr/bin/true\n" if name.endswith(".service") else ""
            (system / name).write_text(f"[Unit]\nDescription=stand-in\n{body}")
