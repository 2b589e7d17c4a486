"""Images at rest: what is taken in, what is refused, and what is noticed afterwards."""

import bz2
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images.layout import missing_files, published_digests, published_version
from provisioner.images.store import ImageStore
from tests.images.publisher import DISK, INITRD, KERNEL, flatcar


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def test_a_release_is_imported_with_its_names_sizes_and_hashes(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release")
    image = store.import_dir(source, "flatcar")
    assert (image.name, image.version, image.problems) == ("flatcar", "3815.2.0", ())
    assert {(f.name, f.size, f.sha256) for f in image.files} == {
        (p.name, p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in source.iterdir()
    }
    assert store.list() == [image] == [store.get("flatcar")]
    assert store.verify("flatcar") == []


def test_the_given_version_wins_and_the_newest_is_the_default(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release")
    for version in ("3815.10.0", "3815.9.0", "lab"):
        store.import_dir(source, "flatcar", version)
    assert store.versions("flatcar") == ["lab", "3815.9.0", "3815.10.0"]
    assert store.get("flatcar").version == "3815.10.0"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("FLATCAR_BUILD=1\nFLATCAR_VERSION=3815.2.0\n", "3815.2.0"),
        ('COREOS_VERSION="1000.0.0"\n', "1000.0.0"),
        ("39.20231101.3.0\n", "39.20231101.3.0"),
        ("FLATCAR_BUILD=1\n", None),
        ("", None),
        ("two words", None),
    ],
)
def test_version_files(text: str, version: str | None) -> None:
    assert published_version(text) == version


def test_digests_are_read_by_name_and_weak_ones_are_left_out() -> None:
    text = f"# MD5 HASH\n{'a' * 32}  k\n# SHA512 HASH\n{'b' * 128}  k\n{'c' * 64} *i\nrubbish\n"
    assert published_digests([text]) == {"k": {"b" * 128}, "i": {"c" * 64}}


def test_what_a_known_publishers_set_lacks_is_named() -> None:
    assert missing_files([KERNEL, INITRD]) == ("…_production_image.bin.bz2",)
    assert missing_files(["fedora-coreos-39-live-kernel-x86_64"]) == ("…-live-initramfs…", "…-live-rootfs…")
    assert missing_files(["anything"]) == ()


def test_an_incomplete_set_is_listed_with_what_it_lacks(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release")
    (source / DISK).unlink()
    image = store.import_dir(source, "flatcar")
    assert not image.complete
    assert image.problems == ("…_production_image.bin.bz2 is missing",)


@pytest.mark.rule("fault-20")
@pytest.mark.parametrize("digests", [True, False], ids=["digests", "no digests"])
@pytest.mark.parametrize("name", [INITRD, DISK])
def test_a_cut_off_file_is_refused_and_nothing_is_published(
    store: ImageStore, tmp_path: Path, name: str, digests: bool
) -> None:
    source = flatcar(tmp_path / "release", digests=digests)
    os.truncate(source / name, (source / name).stat().st_size - 100)
    with pytest.raises(InvalidValue, match="download it again") as refused:
        store.import_dir(source, "flatcar")
    assert (refused.value.field, refused.value.value) == ("file", name)
    assert store.list() == []
    assert list(store.root.iterdir()) == []


def test_changed_bytes_are_refused_by_the_publishers_digest(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release")
    content = bytearray((source / KERNEL).read_bytes())
    content[100] ^= 1
    (source / KERNEL).write_bytes(content)
    with pytest.raises(InvalidValue, match="was published"):
        store.import_dir(source, "flatcar")


@pytest.mark.parametrize("seed", range(8))
def test_whole_bzip2_streams_of_any_bit_length_are_taken(store: ImageStore, tmp_path: Path, seed: int) -> None:
    source = tmp_path / "one"
    source.mkdir()
    (source / "disk.bz2").write_bytes(bz2.compress(bytes(range(seed * 31 + 1)) if seed < 8 else b""))
    assert store.import_dir(source, "one", "1").complete


@pytest.mark.parametrize(
    ("break_it", "field", "words"),
    [
        (lambda s: (s / KERNEL).write_bytes(b""), "file", "is empty"),
        (lambda s: (s / "folder").mkdir(), "file", "images are flat"),
        (lambda s: (s / "a b").write_bytes(b"x"), "file", "cannot be part of a URL"),
        (lambda s: (s / "version.txt").unlink(), "file", "say which release it is: --version V"),
        (lambda s: (s / "version.txt").write_text("x=1"), "file", "names no version"),
        (lambda s: (s / "version.txt").write_text("VERSION=../../x"), "version", "cannot be part of a URL"),
        (lambda s: [p.unlink() for p in s.iterdir()], "directory", "holds no files"),
        (lambda s: s.rename(s.with_name("gone")), "directory", "cannot be read"),
    ],
    ids=["empty", "folder", "blank", "no version", "no version in it", "climbing version", "no files", "gone"],
)
def test_what_cannot_be_imported_names_field_value_and_remedy(
    store: ImageStore, tmp_path: Path, break_it: object, field: str, words: str
) -> None:
    source = flatcar(tmp_path / "release", digests=False)
    break_it(source)  # type: ignore[operator]
    with pytest.raises(InvalidValue, match=words) as refused:
        store.import_dir(source, "flatcar")
    assert refused.value.field == field
    assert refused.value.remedy
    assert store.list() == []


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 200])
def test_names_that_cannot_be_a_folder_are_refused(store: ImageStore, tmp_path: Path, name: str) -> None:
    source = flatcar(tmp_path / "release")
    with pytest.raises(InvalidValue):
        store.import_dir(source, name)
    with pytest.raises(NotFound):
        store.get(name)
    with pytest.raises(NotFound):
        store.open(name, name, KERNEL)


@pytest.mark.rule("fault-20")
def test_damage_at_rest_is_listed_and_the_file_is_not_opened(store: ImageStore, tmp_path: Path) -> None:
    store.import_dir(flatcar(tmp_path / "release"), "flatcar")
    kernel = store.root / "flatcar" / "3815.2.0" / KERNEL
    os.truncate(kernel, 10)
    image = store.get("flatcar")
    assert any("truncated: 10 bytes" in problem for problem in image.problems)
    with pytest.raises(Refused, match="truncated"):
        store.open("flatcar", "3815.2.0", KERNEL)
    kernel.unlink()
    assert any("no file" in problem for problem in store.get("flatcar").problems)


def test_one_unreadable_manifest_does_not_hide_the_others(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release")
    store.import_dir(source, "flatcar")
    store.import_dir(source, "other")
    (store.root / "flatcar" / "3815.2.0" / "manifest.json").write_text("{")
    broken, other = store.list()
    assert "no readable manifest.json" in broken.problems[0]
    assert other.complete
    assert store.import_dir(source, "flatcar").complete


def test_verify_finds_what_the_size_does_not_show(store: ImageStore, tmp_path: Path) -> None:
    store.import_dir(flatcar(tmp_path / "release"), "flatcar")
    kernel = store.root / "flatcar" / "3815.2.0" / KERNEL
    content = bytearray(kernel.read_bytes())
    content[5] ^= 0xFF
    kernel.write_bytes(content)
    assert store.get("flatcar").complete
    [problem] = store.verify("flatcar")
    assert problem.startswith(f"{KERNEL} has sha256")


@pytest.mark.rule("fault-19")
def test_a_replaced_version_leaves_readers_on_the_old_bytes(store: ImageStore, tmp_path: Path) -> None:
    store.import_dir(flatcar(tmp_path / "one", seed=b"one"), "flatcar")
    opened, entry = store.open("flatcar", "3815.2.0", KERNEL)
    store.import_dir(flatcar(tmp_path / "two", seed=b"two"), "flatcar")
    try:
        assert hashlib.sha256(opened.read(0, entry.size)).hexdigest() == entry.sha256
    finally:
        opened.close()
    fresh, newer = store.open("flatcar", "3815.2.0", KERNEL)
    fresh.close()
    assert newer.sha256 != entry.sha256
    assert [p.name for p in store.root.iterdir() if p.name != ".verified"] == ["flatcar"]


@pytest.mark.rule("fault-19")
def test_manifest_and_bytes_always_belong_together_while_versions_are_swapped(
    store: ImageStore, tmp_path: Path
) -> None:
    sources = [flatcar(tmp_path / str(n), seed=str(n).encode() * (n + 1), digests=False) for n in range(2)]
    store.import_dir(sources[0], "flatcar")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for source in sources:
                store.import_dir(source, "flatcar")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen = set()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            opened, entry = store.open("flatcar", "3815.2.0", KERNEL)
            assert hashlib.sha256(opened.read(0, entry.size)).hexdigest() == entry.sha256
            opened.close()
            seen.add(entry.sha256)
    finally:
        stop.set()
        swapper.join(20)
    assert len(seen) == 2


def test_removed_is_gone_for_new_readers_only(store: ImageStore, tmp_path: Path) -> None:
    store.import_dir(flatcar(tmp_path / "release"), "flatcar")
    opened, entry = store.open("flatcar", "3815.2.0", KERNEL)
    store.remove("flatcar", "3815.2.0")
    assert len(opened.read(0, entry.size)) == entry.size
    opened.close()
    assert store.list() == []
    with pytest.raises(NotFound, match="none is imported yet"):
        store.get("flatcar")
    with pytest.raises(NotFound):
        store.remove("flatcar", "3815.2.0")


def test_an_import_that_was_killed_leaves_nothing_visible_and_is_swept(store: ImageStore, tmp_path: Path) -> None:
    source = flatcar(tmp_path / "release", digests=False)
    program = (
        "import sys, pathlib, provisioner.images.store as s\n"
        "def stuck(*a, **k):\n    print('copying', flush=True); sys.stdin.read()\n"
        "s.copy = stuck\n"
        "s.ImageStore(pathlib.Path(sys.argv[1])).import_dir(pathlib.Path(sys.argv[2]), 'flatcar')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(store.root), str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "copying\n"
        assert store.list() == []
        # A running import is not disturbed by another one.
        store.import_dir(source, "other")
        assert len(list(store.root.glob(".incoming-*"))) == 1
        killed.kill()
    store.import_dir(source, "flatcar")
    assert sorted(p.name for p in store.root.iterdir() if p.name != ".verified") == ["flatcar", "other"]
