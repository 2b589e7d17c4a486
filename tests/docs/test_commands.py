"""What the documents tell people to type does what they say: every block marked ``sh`` is run by some test."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.settings import load
from tests.cli.conftest import Ran, Run, fresh, run
from tests.images import publisher
from tests.images.mirror import Signer, flatcar, mirror
from tests.images.test_registry import docker_archive

__all__ = ["fresh", "run"]  # the command line

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "quickstart.md": "tests/test_docs.py",
    "packaging.md": "tests/packaging/test_deb.py",
    "backup.md": "tests/packaging/test_deb.py",
    "README.md": "tests/docs/test_readme.py",
}

needs_gpg = pytest.mark.skipif(not Path("/usr/bin/gpg").exists(), reason="needs gpg (.setup/apt-test.txt)")


def blocks(file: str) -> list[list[str]]:
    """The lines of each block of shell commands."""
    path = ROOT / file if file == "README.md" else ROOT / "docs" / file
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", path.read_text(), re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if line.strip()] for block in found]


Type = Callable[[str], Ran]


@pytest.fixture
def typed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """A line as the shell splits it, without its comment, in a folder of one's own; it must do what it says."""
    monkeypatch.chdir(tmp_path)

    def type_in(line: str) -> Ran:
        program, *words = shlex.split(line, comments=True)
        assert program == "provisioner"
        done = run(*words)
        assert done.code == 0, f"{line}: {done.err}"
        return done

    return type_in


def test_every_document_with_commands_is_here() -> None:
    marked = {file.name for file in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"] if blocks(file.name)}
    assert marked == {"images.md", "roles.md", "clusters.md", *ELSEWHERE}
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()] == []


def rack(typed: Type, *names: str, role: str = "simple") -> None:
    """A subnet, an image, and machines in it."""
    publisher.flatcar(Path("release"), "3510.2.8")
    typed("provisioner subnet add 10.12.1.0/24 --gateway 10.12.1.1")
    typed("provisioner image import release --name flatcar")
    for number, name in enumerate(names, 11):
        machine = f"provisioner machine add --name {name} --mac 52:54:00:00:00:{number} --ip 10.12.1.{number}"
        typed(f"{machine} --role {role}")


@pytest.fixture
def from_the_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``image fetch`` finds a publisher, and its key."""
    signer = Signer.make(tmp_path / "gpg")
    with mirror() as origin:
        flatcar(origin, tmp_path / "published", signer, "3815.2.5")
        monkeypatch.setenv("PROVISIONER_IMAGES__SOURCES__FLATCAR__URL", origin.url)
        monkeypatch.setenv("PROVISIONER_IMAGES__SOURCES__FLATCAR__KEYRING", str(signer.armored))
        monkeypatch.setenv("PROVISIONER_IMAGES__SOURCES__FLATCAR__FINGERPRINTS", json.dumps([signer.fingerprint]))
        yield
    signer.end()


@needs_gpg
@pytest.mark.system
def test_images(typed: Type, from_the_publisher: None) -> None:
    daily, _, _ = blocks("images.md")
    rack(typed)
    publisher.flatcar(Path("3815.2.0"), "3815.2.0")
    told = [typed(line).out for line in daily]
    assert all(version in told[2] for version in ("3510.2.8", "3815.2.0", "3815.2.5"))
    assert "3510.2.8" not in typed("provisioner image list").out


@pytest.mark.system
def test_a_bundle_is_packed_and_taken_in(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (packed,), (taken,) = blocks("images.md")
    rack(typed)
    container = shlex.split(packed)[-1]
    typed(f"provisioner container import {docker_archive(Path('pause.tar'), container)}")
    said = typed(packed)
    (fingerprint,) = set(re.findall(r"(?:[0-9a-f]{4}-){3,}[0-9a-f]{4}", said.out + said.err))
    monkeypatch.setenv("PROVISIONER_DATA_DIR", str(Path("elsewhere").absolute()))
    typed(taken.replace(taken.split()[-1], fingerprint))
    assert "3510.2.8" in typed("provisioner image list").out


@pytest.mark.system
def test_roles(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, edited = blocks("roles.md")
    shutil.copytree(ROOT / "cloud_configs", "roles")
    monkeypatch.setenv("PROVISIONER_CLOUD_CONFIGS", str(Path("roles").absolute()))
    rack(typed, "node-01", role="worker")
    for line in looked_at:
        typed(line)
    typed("provisioner machine arm node-01")
    with Path("roles/worker/config.yml.j2").open("a") as config:
        config.write("# edited\n")
    plan = ""
    for line in edited:
        done = typed(re.sub(r"--plan \S+", f"--plan {plan}", line))
        if found := re.search(r"^plan ([0-9a-f]{16});", done.out, re.MULTILINE):
            plan = found[1]
    active = [
        row["number"] for row in typed("provisioner role revisions worker --json").json if "active" in row["is"]
    ]
    assert active == [1]


@pytest.mark.system
def test_a_cluster(typed: Type) -> None:
    (lines,) = blocks("clusters.md")
    rack(typed, "node-01", "node-02")
    for name in ("kubeadm", "images.tar", "kubelet", "kubectl", "cni-plugins.tgz"):
        Path(name).write_bytes(name.encode() * 100)
    for name in ("kubelet", "kubectl", "cni-plugins.tgz"):
        typed(f"provisioner payload add {name} --path kubernetes/{name}")
    for line in lines:
        typed(line)
    states = {row["name"]: row["state"] for row in typed("provisioner machine list --json").json}
    assert states == {"node-01": "armed", "node-02": "armed"}


def test_settings_files_in_the_documents_are_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/network.md").read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "provisioner.toml"
    file.write_text(text)
    assert [wire.name for wire in load(file).wires] == ["eth1", "eth2"]
    packaged = ROOT / ".setup/debian/provisioner.toml"
    everything = re.sub(r"^#(\w+ = )", r"\1", packaged.read_text(), flags=re.MULTILINE)
    file.write_text(everything)
    assert load(file).wires[0].name == "eth1"
