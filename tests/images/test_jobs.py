"""What the API asks for, carried out as the images service does: with progress, to an end that is told."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions import images
from provisioner.domain.errors import Refused
from provisioner.domain.records import Job
from provisioner.images import bundle
from provisioner.images.arrivals import Arrivals
from provisioner.images.containers import ContainerStore
from provisioner.images.download import Downloads
from provisioner.images.fetch import Fetcher, Source
from provisioner.images.library import Library
from provisioner.images.payload import PayloadStore
from provisioner.images.shipping import Wanted, Warehouse
from provisioner.images.store import ImageStore
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store
from tests.images.mirror import Mirror, Signer, flatcar, mirror
from tests.images.publisher import KERNEL
from tests.images.publisher import flatcar as publisher_release


class Clock:
    """Three seconds pass between two looks, so that progress is told each time."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 3_000_000
        return self.now


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer.make(tmp_path_factory.mktemp("gpg") / "home")
    yield made
    made.end()


@pytest.fixture
def origin() -> Iterator[Mirror]:
    with mirror() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return open_store(tmp_path)


@pytest.fixture
def library(tmp_path: Path, origin: Mirror, signer: Signer) -> Library:
    held = ImageStore(tmp_path / "images")
    source = Source(origin.url, signer.armored)
    return Library(held, Fetcher(held, {"flatcar": source}, lambda told: Downloads(told, pause=0.001)))


def ask(store: SqlStore, version: str = "") -> Job:
    return images.enqueue_fetch(
        store, "flatcar", name="", stream="stable", version=version, arch="amd64", actor="user:ada", now=NOW
    )


def stored(store: SqlStore, job: Job) -> Job:
    with store.reading() as tx:
        return tx.jobs.get(str(job.id))


def test_a_fetch_ends_done_with_what_was_proven(
    tmp_path: Path, store: SqlStore, library: Library, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    job = ask(store)
    images.work(store, library, Clock(), threading.Event())
    ended = stored(store, job)
    said = "image flatcar 3815.2.0 fetched, signatures and digests are good"
    assert (ended.state, ended.result["image"]["said"]) == ("done", said)
    assert ended.done == ended.total > 100, "kB"
    with store.reading() as tx:
        newest = tx.events.list(limit=1)[0]
    assert (newest.message, newest.actor) == (said, "user:ada")
    assert images.work(store, library, Clock(), threading.Event()) is None


def test_a_fetch_that_is_refused_says_why(store: SqlStore, library: Library) -> None:
    job = ask(store, "1.2.3")
    images.work(store, library, Clock(), threading.Event())
    ended = stored(store, job)
    assert ended.state == "failed"
    assert "/amd64-usr/1.2.3/version.txt was refused: HTTP 404" in ended.result["image"]["said"]


@pytest.mark.rule("fault-03")
def test_a_full_disk_ends_the_job_and_says_so_and_a_later_one_goes_on(
    tmp_path: Path, store: SqlStore, library: Library, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    folder = library.store.root / ".fetching-flatcar@3815.2.0"
    folder.mkdir()
    full = folder / "flatcar_production_image.bin.bz2.part"
    full.symlink_to("/dev/full")
    job = ask(store)
    images.work(store, library, Clock(), threading.Event())
    ended = stored(store, job)
    assert ended.state == "failed"
    assert "cannot be read or written: No space left on device" in ended.result["image"]["said"]
    full.unlink()
    again = ask(store)
    images.work(store, library, Clock(), threading.Event())
    assert stored(store, again).state == "done"


def test_a_service_that_stops_gives_the_job_back_and_the_next_one_goes_on(
    tmp_path: Path, store: SqlStore, library: Library, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    job, stop = ask(store), threading.Event()
    stop.set()
    images.work(store, library, Clock(), stop)
    assert (stored(store, job).state, library.store.list()) == ("queued", [])
    images.work(store, library, Clock(), threading.Event())
    assert (stored(store, job).state, library.store.get("flatcar").complete) == ("done", True)


def test_verify_finds_what_changed_on_the_disk_and_forgets_that_it_was_good(
    tmp_path: Path, store: SqlStore, library: Library, origin: Mirror, signer: Signer
) -> None:
    flatcar(origin, tmp_path / "release", signer)
    ask(store)
    images.work(store, library, Clock(), threading.Event())
    assert library.store.get("flatcar").verified_at is not None
    path = library.store.root / "flatcar" / "3815.2.0" / KERNEL
    path.write_bytes(bytes(path.stat().st_size))
    job = images.enqueue_verify(store, library, "flatcar", "", actor="user:ada", now=NOW + 1)
    images.work(store, library, Clock(), threading.Event())
    ended = stored(store, job)
    assert ended.state == "failed"
    assert f"{KERNEL} has sha256" in ended.result["image"]["said"]
    assert library.store.get("flatcar").verified_at is None


def test_an_import_takes_what_lies_in_the_folder_for_imports(tmp_path: Path, store: SqlStore) -> None:
    held = ImageStore(tmp_path / "images")
    house = Warehouse(held, PayloadStore(tmp_path / "p"), ContainerStore(tmp_path / "c"), tmp_path / "roles")
    arrivals = Arrivals(tmp_path / "incoming", house)
    library = Library(held, Fetcher(held, {}), arrivals)
    publisher_release(arrivals.folder / "release")
    job = images.enqueue_import(
        store, library, "release", name="flatcar", version="", trust=(), actor="user:ada", now=NOW
    )
    images.work(store, library, Clock(), threading.Event())
    ended = stored(store, job)
    assert (ended.state, ended.result["image"]["said"]) == ("done", "image flatcar 3815.2.0 imported: complete")
    assert ended.done == ended.total > 100, "kB"

    key = bundle.signing_key(b"k" * 32)
    house.pack(arrivals.folder / "rack.bundle", key, Wanted([("flatcar", "")]), NOW)
    held.remove("flatcar", "3815.2.0")
    signer = bundle.fingerprint(key.public_key())
    for trust, state in ((), "failed"), ((signer,), "done"):
        job = images.enqueue_import(
            store, library, "rack.bundle", name="", version="", trust=trust, actor="user:ada", now=NOW
        )
        images.work(store, library, Clock(), threading.Event())
        assert stored(store, job).state == state
    assert held.verify("flatcar") == []


@pytest.mark.parametrize("source", ["../secret", "secret", "link", "file", ".hidden", "/etc", ""])
def test_an_import_reaches_nothing_outside_its_folder(tmp_path: Path, store: SqlStore, source: str) -> None:
    held = ImageStore(tmp_path / "images")
    house = Warehouse(held, PayloadStore(tmp_path / "p"), ContainerStore(tmp_path / "c"), tmp_path / "roles")
    library = Library(held, Fetcher(held, {}), Arrivals(tmp_path / "incoming", house))
    publisher_release(tmp_path / "secret")
    publisher_release(tmp_path / "incoming" / ".hidden")
    (tmp_path / "incoming" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "incoming" / "file").write_text("no bundle")
    with pytest.raises(Refused):
        images.enqueue_import(store, library, source, name="x", version="1", trust=(), actor="user:ada", now=NOW)
    assert held.list() == []
