"""Payload files: added atomically, listed with digests, never served half."""

import hashlib
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.images.payload import PayloadStore
from tests.images.serving import serving


def test_a_file_is_served_with_a_manifest_that_sha256sum_checks(tmp_path: Path) -> None:
    store = PayloadStore(tmp_path / "data" / "payload")
    (tmp_path / "kubelet").write_bytes(b"binary" * 1000)
    entry = store.add(tmp_path / "kubelet", "k8s/1.29.3/kubelet")
    assert (entry.size, entry.sha256) == (6000, hashlib.sha256(b"binary" * 1000).hexdigest())
    with serving(tmp_path / "data") as served:
        sums = urllib.request.urlopen(f"{served.url}/payload/SHA256SUMS", timeout=10).read()
        body = urllib.request.urlopen(f"{served.url}/payload/{entry.path}", timeout=10).read()
        for hidden in ("/payload/.manifest.json", "/payload/.incoming-1"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(served.url + hidden, timeout=10)
    fetched = tmp_path / "fetched" / entry.path
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(body)
    (tmp_path / "fetched" / "sums").write_bytes(sums)
    subprocess.run(["sha256sum", "-c", "sums"], cwd=tmp_path / "fetched", check=True, capture_output=True)


def test_a_file_that_shrank_is_not_served(tmp_path: Path) -> None:
    store = PayloadStore(tmp_path / "data" / "payload")
    (tmp_path / "f").write_bytes(b"12345")
    store.add(tmp_path / "f")
    (store.root / "f").write_bytes(b"1234")
    assert store.verify() == [
        f"f has sha256 {hashlib.sha256(b'1234').hexdigest()}, was added with {hashlib.sha256(b'12345').hexdigest()}"
    ]
    with serving(tmp_path / "data") as served, pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{served.url}/payload/f", timeout=10)


@pytest.mark.parametrize("path", ["../x", "a//b", ".hidden", "a/.b", "a b", "SHA256SUMS"])
def test_paths_that_make_no_url_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "f").write_bytes(b"1")
    with pytest.raises(InvalidValue, match="cannot be part of a URL"):
        PayloadStore(tmp_path / "payload").add(tmp_path / "f", path)


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    store = PayloadStore(tmp_path / "payload")
    (tmp_path / "f").write_bytes(b"1")
    store.add(tmp_path / "f", "a/f")
    store.remove("a/f")
    assert (store.manifest(), (store.root / "a/f").exists(), store.verify()) == ({}, False, [])
    with pytest.raises(NotFound):
        store.remove("a/f")
