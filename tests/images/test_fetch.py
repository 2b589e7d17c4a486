"""Releases from their publishers, off a server laid out like theirs."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.download import Downloads, Progress
from provisioner.images.fetch import Fetcher, Source
from provisioner.images.store import ImageStore
from tests.images.mirror import Mirror, Signer, fedora_coreos, flatcar, mirror
from tests.images.publisher import DISK, INITRD, KERNEL

AT = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer.make(tmp_path_factory.mktemp("gpg") / "home")
    yield made
    made.end()


@pytest.fixture
def origin() -> Iterator[Mirror]:
    with mirror() as made:
        yield made


def impatient(progress: Progress) -> Downloads:
    return Downloads(progress, pause=0.001)


def fetcher(store: ImageStore, origin: Mirror, signer: Signer, *pinned: str) -> Fetcher:
    source = Source(origin.url, signer.armored, pinned)
    return Fetcher(store, {"flatcar": source, "fedora-coreos": source}, impatient)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images", clock=lambda: AT)


def hidden(store: ImageStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir() if path.name.startswith(".fetching"))


def test_the_newest_flatcar_is_listed_with_all_that_flatcar_install_reads(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    seen: list[tuple[int, int]] = []
    image = fetcher(store, origin, signer, signer.fingerprint).fetch(
        "flatcar", progress=lambda done, total: seen.append((done, total))
    )
    assert (image.name, image.version, image.problems) == ("flatcar", "3815.2.0", ())
    assert {KERNEL, INITRD, DISK, f"{DISK}.sig", "version.txt"} <= {file.name for file in image.files}
    assert store.get("flatcar").verified_at == AT
    assert seen[-1][0] == seen[-1][1] == image.size
    assert hidden(store) == []


def test_large_files_are_fetched_side_by_side(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    origin.together = threading.Barrier(3)  # Kernel, initrd and disk image: none is sent before all are asked for.
    image = fetcher(store, origin, signer, signer.fingerprint).fetch("flatcar")
    assert image.problems == ()
    assert not origin.together.broken


def test_fedora_coreos_by_stream_and_by_an_older_version(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    fedora_coreos(origin, tmp_path / "new", signer, "39.20240128.3.0")
    fedora_coreos(origin, tmp_path / "old", signer, "38.20231027.3.2", newest=False)
    fetch = fetcher(store, origin, signer).fetch
    assert fetch("fedora-coreos").version == "39.20240128.3.0"
    old = fetch("fedora-coreos", version="38.20231027.3.2", name="fcos")
    assert (old.name, old.version, old.problems) == ("fcos", "38.20231027.3.2", ())
    assert len(old.files) == 6


@pytest.mark.parametrize("file", [KERNEL, DISK])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer, file: str
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    path = f"/amd64-usr/3815.2.0/{file}"
    origin.cut[path] = 20_000
    assert fetcher(store, origin, signer).fetch("flatcar").complete
    assert [ranges for asked, ranges in origin.asked if asked == path] == ["", "bytes=20000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew_not_spliced(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    path = f"/amd64-usr/3815.2.0/{KERNEL}"
    good = origin.files[path]
    origin.files[path] = b"another build" * 5000
    origin.files[f"/amd64-usr/3815.2.0/{DISK}"] = b""  # Not there yet: the first attempt can't succeed.
    origin.cut[path] = 20_000
    with pytest.raises(Refused):
        fetcher(store, origin, signer).fetch("flatcar")
    origin.files[path] = good
    origin.put_folder("/amd64-usr/3815.2.0", tmp_path / "release")
    assert fetcher(store, origin, signer).fetch("flatcar").complete
    assert store.verify("flatcar") == []


def test_what_arrived_before_a_crash_is_not_asked_for_again(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    disk = origin.files.pop(f"/amd64-usr/3815.2.0/{DISK}")
    with pytest.raises(Refused, match=r"HTTP 404; does this version exist there"):
        fetcher(store, origin, signer).fetch("flatcar")
    assert store.list() == []
    assert len(hidden(store)) == 1
    kept = {path.name for path in (store.root / hidden(store)[0]).iterdir() if not path.name.endswith(".part")}
    origin.files[f"/amd64-usr/3815.2.0/{DISK}"] = disk
    origin.asked.clear()
    assert fetcher(store, origin, signer).fetch("flatcar").complete
    again = {path.rpartition("/")[2] for path, _ in origin.asked} - {"version.txt"}
    assert kept
    assert not again & kept


@pytest.mark.parametrize("damaged", [KERNEL, INITRD, DISK, f"{KERNEL}.sig"])
def test_bytes_the_publisher_did_not_sign_are_never_listed(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer, damaged: str
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    path = f"/amd64-usr/3815.2.0/{damaged}"
    good = origin.files[path]
    origin.files[path] = good[:-9] + bytes(byte ^ 1 for byte in good[-9:])
    with pytest.raises(InvalidValue, match=r"is not signed by a key of key\.asc"):
        fetcher(store, origin, signer).fetch("flatcar")
    assert store.list() == []
    origin.files[path] = good
    assert fetcher(store, origin, signer).fetch("flatcar").complete


def test_a_good_signature_of_a_key_that_is_not_pinned_is_refused(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    with pytest.raises(InvalidValue, match=r"which is not the pinned key; pinned: F{40}"):
        fetcher(store, origin, signer, "F" * 40).fetch("flatcar")


def test_a_mirror_cannot_hand_out_another_version_than_was_asked_for(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer, "3815.2.0")
    origin.put_folder("/amd64-usr/3975.2.1", tmp_path / "release")
    with pytest.raises(Refused, match=r"says 3815\.2\.0, not 3975\.2\.1"):
        fetcher(store, origin, signer).fetch("flatcar", version="3975.2.1")


def test_nothing_is_fetched_without_the_publishers_key(store: ImageStore, origin: Mirror) -> None:
    with pytest.raises(Refused, match="no key of flatcar is given"):
        Fetcher(store, {"flatcar": Source(origin.url)}, impatient).fetch("flatcar")
    assert origin.asked == []


def test_a_version_that_is_there_is_not_fetched_twice(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    fetch = fetcher(store, origin, signer).fetch
    fetch("flatcar")
    origin.asked.clear()
    fetch("flatcar")
    assert [path for path, _ in origin.asked] == ["/amd64-usr/current/version.txt"]


def test_the_proxy_of_the_environment_is_used(
    tmp_path: Path, store: ImageStore, origin: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    monkeypatch.setenv("http_proxy", origin.url)
    source = Source("http://{stream}.release.invalid", signer.armored)
    image = Fetcher(store, {"flatcar": source}, impatient).fetch("flatcar", stream="beta")
    assert image.complete


def test_an_unreachable_publisher_is_named_with_what_to_do(store: ImageStore, signer: Signer) -> None:
    source = Source("http://127.0.0.1:9", signer.armored)
    with pytest.raises(Refused, match=r"127\.0\.0\.1:9.*cannot be fetched.*check network and proxy"):
        Fetcher(store, {"flatcar": source}, impatient).fetch("flatcar")
