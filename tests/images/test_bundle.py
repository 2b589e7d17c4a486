"""The offline bundle: what is packed arrives whole, and nothing arrives that was not signed by a trusted key."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images import bundle
from provisioner.images.archives import import_archive
from provisioner.images.bundle import Contents, Entry
from provisioner.images.containers import ContainerStore
from provisioner.images.payload import PayloadStore
from provisioner.images.shipping import Taken, Wanted, Warehouse
from provisioner.images.store import ImageStore
from tests.images.publisher import flatcar
from tests.images.test_registry import docker_archive

KEY = bundle.signing_key(b"k" * 32)
TRUSTED = bundle.fingerprint(KEY.public_key())
NOW = 1_700_000_000_000_000


@dataclass
class Site:
    """An appliance's stores."""

    root: Path
    house: Warehouse = field(init=False)

    def __post_init__(self) -> None:
        (self.root / "roles").mkdir(parents=True)
        self.house = Warehouse(
            ImageStore(self.root / "images"),
            PayloadStore(self.root / "payload"),
            ContainerStore(self.root / "containers"),
            self.root / "roles",
        )

    def role(self, name: str, text: str = "image: flatcar\n") -> None:
        (self.root / "roles" / name / "parts").mkdir(parents=True)
        (self.root / "roles" / name / "role.yaml").write_text(text)
        (self.root / "roles" / name / "parts" / "unit.j2").write_text("[Unit]\n")

    def all_files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}

    def take(self, file: Path, *trusted: str) -> Taken:
        return self.house.take_in(file, trusted or (TRUSTED,))


@pytest.fixture
def full(tmp_path: Path) -> Site:
    site = Site(tmp_path / "full")
    site.house.images.import_dir(flatcar(tmp_path / "release"), "flatcar")
    (tmp_path / "kubelet").write_bytes(b"kubelet" * 1000)
    site.house.payload.add(tmp_path / "kubelet", "k8s/1.29/kubelet")
    import_archive(site.house.containers, docker_archive(tmp_path / "pause.tar", "registry.example/pause:3.9"))
    site.role("worker")
    return site


@pytest.fixture
def empty(tmp_path: Path) -> Site:
    return Site(tmp_path / "empty")


EVERYTHING = Wanted([("flatcar", "")], ["k8s/1.29/kubelet"], ["registry.example/pause:3.9"], ["worker"])


@pytest.fixture
def packed(full: Site, tmp_path: Path) -> Path:
    target = tmp_path / "rack.bundle"
    full.house.pack(target, KEY, EVERYTHING, NOW)
    return target


def test_an_appliance_without_internet_gets_all_of_it_and_the_same_bytes(
    full: Site, empty: Site, packed: Path
) -> None:
    assert bundle.is_bundle(packed)
    taken = empty.take(packed)
    assert taken.signer == TRUSTED
    assert taken.added == [
        "image flatcar 3815.2.0",
        "payload k8s/1.29/kubelet",
        "container registry.example/pause:3.9",
        "role worker",
    ]
    assert empty.house.images.verify("flatcar") == []
    assert empty.house.images.get("flatcar").files == full.house.images.get("flatcar").files
    assert empty.house.payload.manifest() == full.house.payload.manifest()
    assert empty.house.containers.list() == full.house.containers.list()
    worker = {name: data for name, data in full.all_files().items() if name.startswith("roles/worker/")}
    assert len(worker) == 2
    assert worker.items() <= empty.all_files().items()


def test_a_second_import_adds_nothing(empty: Site, packed: Path) -> None:
    first = empty.take(packed)
    again = empty.take(packed)
    assert (again.added, again.known) == ([], first.added)


def test_another_key_is_refused_by_its_fingerprint_until_it_is_trusted(empty: Site, packed: Path) -> None:
    stranger = bundle.fingerprint(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(Refused, match=TRUSTED):
        empty.take(packed, stranger)
    assert empty.all_files() == {}
    assert empty.take(packed, stranger, f" {TRUSTED.upper()}\n").added


def members(file: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(file) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def rewritten(file: Path, entries: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, data in entries:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


def test_whatever_is_changed_on_the_way_is_noticed_and_nothing_is_added(empty: Site, packed: Path) -> None:
    original = members(packed)
    for index, (name, data) in enumerate(original):
        for changed in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], data + b"x"):
            rewritten(packed, [*original[:index], (name, changed), *original[index + 1 :]])
            with pytest.raises(Refused):
                empty.take(packed)
        rewritten(packed, [*original[:index], *original[index + 1 :]])
        with pytest.raises(Refused):
            empty.take(packed)
    rewritten(packed, [*original, ("images/flatcar/9/more", b"more")])
    with pytest.raises(Refused, match="more than was signed"):
        empty.take(packed)
    assert empty.all_files() == {}


@pytest.mark.parametrize("keep", [0, 100, 512, 1500, 20_000, 100_000])
def test_a_bundle_that_is_cut_off_adds_nothing(empty: Site, packed: Path, keep: int) -> None:
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(Refused, match=r"rack\.bundle"):
        empty.take(packed)
    assert empty.all_files() == {}


@pytest.mark.parametrize(
    "path",
    [
        "payload/../../escape",
        "payload//etc/passwd",
        "/etc/passwd",
        "images/../x/y",
        "images/flatcar/1/a/b",
        "roles/../worker/role.yaml",
        "roles/worker",
        "roles/.hidden/role.yaml",
        "blobs/" + "0" * 64,
        "elsewhere/file",
    ],
)
def test_even_a_trusted_signer_cannot_name_a_path_outside_the_stores(
    empty: Site, tmp_path: Path, path: str
) -> None:
    evil = tmp_path / "evil.bundle"
    entry = Entry(path, 1, hashlib.sha256(b"x").hexdigest())
    bundle.write(evil, KEY, Contents(NOW, [entry]), lambda _: io.BytesIO(b"x"))
    with pytest.raises(InvalidValue, match="nothing that a bundle may hold"):
        empty.take(evil)
    assert {p.name for p in tmp_path.iterdir()} == {"evil.bundle", "empty"}


def test_what_is_here_with_other_bytes_is_a_conflict_and_nothing_else_is_added(
    empty: Site, packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"other")
    empty.house.payload.add(tmp_path / "other", "k8s/1.29/kubelet")
    before = empty.all_files()
    with pytest.raises(Refused, match=r"payload k8s/1\.29/kubelet is here already.*payload remove"):
        empty.take(packed)
    assert empty.all_files() == before


def test_if_the_last_part_cannot_be_stored_the_first_is_taken_away_again(empty: Site, packed: Path) -> None:
    # A file where the role's draft would be: rename and rmtree both fail on it.
    (empty.root / "roles" / ".worker.incoming").write_text("in the way")
    with pytest.raises(Refused, match="cannot be stored"):
        empty.take(packed)
    assert empty.house.images.list() == []
    assert empty.house.payload.manifest() == {}
    assert empty.house.containers.list() == []
    assert not list((empty.root / "containers" / "blobs" / "sha256").iterdir())


def test_a_damaged_store_makes_no_bundle(full: Site, tmp_path: Path) -> None:
    (full.root / "payload" / "k8s/1.29/kubelet").write_bytes(b"KUBELET" * 1000)
    with pytest.raises(Refused, match="not what is listed"):
        full.house.pack(tmp_path / "out.bundle", KEY, EVERYTHING, NOW)
    assert not list(tmp_path.glob("*out.bundle*"))
    with pytest.raises(NotFound, match="no-such"):
        full.house.pack(tmp_path / "out.bundle", KEY, Wanted(payload=["no-such"]), NOW)


def test_a_newer_format_is_named(empty: Site, packed: Path) -> None:
    entries = members(packed)
    listed = json.dumps({**json.loads(entries[0][1]), "format": "provisioner bundle 2"}).encode()
    public, signature = json.loads(entries[1][1])["key"], KEY.sign(listed)
    from base64 import b64encode

    told = json.dumps({"key": public, "signature": b64encode(signature).decode()}).encode()
    rewritten(packed, [("bundle.json", listed), ("bundle.sig", told), *entries[2:]])
    with pytest.raises(Refused, match="newer program"):
        empty.take(packed)
