"""The appliance as a registry: what was imported comes back by real clients, bit for bit, and nothing goes in."""

import gzip
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images.archives import OCI_MANIFEST, import_archive
from provisioner.images.containers import ContainerStore, parse_name
from tests.images.serving import Serving, serving

CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"]}, "history": []}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def docker_archive(path: Path, *tags: str, layers: int = 2, diff_ids: list[str] | None = None) -> Path:
    """As ``docker save`` writes it."""
    tars = [tar({f"layer-{n}": os.urandom(5000)}) for n in range(layers)]
    diffs = diff_ids or [sha256(each) for each in tars]
    config = json.dumps(CONFIG | {"rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    members = {f"{n}/layer.tar": each for n, each in enumerate(tars)}
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": list(members)}]
    path.write_bytes(tar({name: config, **members, "manifest.json": json.dumps(manifest).encode()}))
    return path


def oci_archive(path: Path, reference: str, *, damaged: bool = False) -> Path:
    """An OCI image layout with one gzipped layer."""
    plain = tar({"hello": os.urandom(4000)})
    layer = gzip.compress(plain)
    config = json.dumps(CONFIG | {"rootfs": {"type": "layers", "diff_ids": [sha256(plain)]}}).encode()

    def describe(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": sha256(data), "size": len(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe("application/vnd.oci.image.config.v1+json", config),
            "layers": [describe("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    ).encode()
    notes = {"annotations": {"org.opencontainers.image.ref.name": reference}} if reference else {}
    index = {"schemaVersion": 2, "manifests": [describe(OCI_MANIFEST, manifest) | notes]}
    blobs = {f"blobs/{sha256(data).replace(':', '/')}": data for data in (config, layer, manifest)}
    if damaged:
        key = f"blobs/{sha256(layer).replace(':', '/')}"
        blobs[key] = blobs[key][:-1] + b"?"
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}
    path.write_bytes(gzip.compress(tar(files)))
    return path


@pytest.fixture
def store(tmp_path: Path) -> ContainerStore:
    return ContainerStore(tmp_path / "containers")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "data") as made:
        yield made


def ask(served: Serving, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("given", "name", "tag"),
    [
        ("busybox", "docker.io/library/busybox", "latest"),
        ("busybox:1.36", "docker.io/library/busybox", "1.36"),
        ("calico/node:v3", "docker.io/calico/node", "v3"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause", "3.9"),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest"),
    ],
)
def test_names_are_read_as_docker_reads_them(given: str, name: str, tag: str) -> None:
    assert parse_name(given) == (name, tag)


@pytest.mark.parametrize("given", ["", "UPPER/case", "a b", "../x", "x/../y:1", "a:b c"])
def test_what_is_no_reference_is_refused(given: str) -> None:
    with pytest.raises(InvalidValue, match="is no image reference"):
        parse_name(given)


def test_tags_share_blobs_and_the_last_one_takes_them_along(tmp_path: Path, store: ContainerStore) -> None:
    import_archive(store, docker_archive(tmp_path / "a.tar", "pause:3.9", "registry.k8s.io/pause:3.9"))
    one, two = store.list()
    assert (one.name, two.name, one.digest) == ("docker.io/library/pause", "registry.k8s.io/pause", two.digest)
    store.remove(one.name, "3.9")
    assert {f"sha256:{blob.name}" for blob in (store.root / "blobs/sha256").iterdir()} == set(two.blobs)
    store.remove(two.name, "3.9")
    assert list((store.root / "blobs/sha256").iterdir()) == []
    with pytest.raises(NotFound):
        store.remove(two.name, "3.9")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: oci_archive(path, "a/b:1", damaged=True), "has the digest sha256:"),
        (lambda path: docker_archive(path, "a:1", diff_ids=[sha256(b"x"), sha256(b"y")]), "has the digest sha256:"),
        (lambda path: docker_archive(path, "a:1", diff_ids=[sha256(b"x")]), "has other layers than its config"),
        (lambda path: oci_archive(path, ""), "does not say how its image is called"),
        (lambda path: path.write_bytes(b"no tar") and path, "cannot be read as a tar"),
        (lambda path: path.write_bytes(tar({"x": b""})) and path, "has neither manifest.json"),
        (
            lambda path: path.write_bytes(tar({"manifest.json": b'[{"Layers": []}]'})) and path,
            "not as the format says",
        ),
        (lambda path: path.write_bytes(tar({"manifest.json": b"{"})) and path, "is no JSON"),
        (
            lambda path: path.write_bytes(tar({"index.json": b'{"manifests": [{}]}'})) and path,
            "not as the format says",
        ),
    ],
    ids=["damaged", "other bytes", "layers", "nameless", "no tar", "empty", "no config", "no JSON", "no digest"],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, store: ContainerStore, make: Any, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        import_archive(store, make(tmp_path / "a.tar"))
    assert (store.list(), list((store.root / "blobs/sha256").iterdir())) == ([], [])


def test_the_three_ways_a_mirror_is_asked(tmp_path: Path, served: Serving) -> None:
    (image,) = import_archive(served.containers, oci_archive(tmp_path / "a", "registry.k8s.io/pause:3.9"))
    for path in (
        "registry.k8s.io/pause/manifests/3.9",
        "pause/manifests/3.9?ns=registry.k8s.io",
        "pause/manifests/3.9",
    ):
        status, headers, body = ask(served, f"/v2/{path}")
        assert (status, sha256(body), headers["Docker-Content-Digest"]) == (200, image.digest, image.digest)
        assert headers["Content-Type"] == OCI_MANIFEST
    import_archive(served.containers, docker_archive(tmp_path / "b", "quay.io/pause:3.9"))
    assert ask(served, "/v2/pause/manifests/3.9")[0] == 404, "two registries have it: nobody guesses"
    assert json.loads(ask(served, "/v2/registry.k8s.io/pause/tags/list")[2])["tags"] == ["3.9"]


def test_head_blobs_errors_and_writes_as_the_specification_has_them(tmp_path: Path, served: Serving) -> None:
    (image,) = import_archive(served.containers, oci_archive(tmp_path / "a", "registry.k8s.io/pause:3.9"))
    assert ask(served, "/v2/")[0] == 200
    status, headers, body = ask(served, f"/v2/registry.k8s.io/pause/manifests/{image.digest}", "HEAD")
    assert (status, int(headers["Content-Length"]), body) == (200, image.blobs[image.digest], b"")
    for digest, size in image.blobs.items():
        status, _, body = ask(served, f"/v2/registry.k8s.io/pause/blobs/{digest}")
        assert (status, len(body), sha256(body)) == (200, size, digest)
    for path, status, code in (
        ("nothing/manifests/1", 404, "NAME_UNKNOWN"),
        ("pause/manifests/4", 404, "MANIFEST_UNKNOWN"),
        (f"pause/blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN"),
        ("pause/blobs/..%2f..%2fetc", 404, "UNSUPPORTED"),
    ):
        answer = ask(served, f"/v2/{path}")
        assert (answer[0], json.loads(answer[2])["errors"][0]["code"]) == (status, code)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(served, "/v2/pause/blobs/uploads/", method)[0] == 405


def test_a_truncated_blob_is_not_served(tmp_path: Path, served: Serving) -> None:
    (image,) = import_archive(served.containers, oci_archive(tmp_path / "a", "x.io/pause:3.9"))
    blob = served.containers.root / "blobs/sha256" / image.digest.removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes()[:-1])
    assert ask(served, "/v2/x.io/pause/manifests/3.9")[0] == 503


@pytest.mark.system
@pytest.mark.parametrize("make", [docker_archive, oci_archive], ids=["docker-archive", "oci-archive"])
def test_skopeo_pulls_what_was_imported(tmp_path: Path, served: Serving, make: Any) -> None:
    assert shutil.which("skopeo"), "apt install skopeo"
    (image,) = import_archive(served.containers, make(tmp_path / "a.tar", "registry.k8s.io/pause:3.9"))
    source = f"docker://127.0.0.1:{served.port}/registry.k8s.io/pause:3.9"
    pulled = tmp_path / "pulled"
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source, f"dir:{pulled}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sha256((pulled / "manifest.json").read_bytes()) == image.digest
    assert {f"sha256:{path.name}" for path in pulled.iterdir() if len(path.name) == 64} == set(image.blobs) - {
        image.digest
    }


@pytest.mark.system
def test_skopeo_makes_the_archive_that_is_imported(tmp_path: Path, served: Serving) -> None:
    """The whole circle of an offline site: saved by skopeo there, imported and pulled by skopeo here."""
    first = import_archive(served.containers, oci_archive(tmp_path / "a.tar", "registry.k8s.io/pause:3.9"))
    source = f"docker://127.0.0.1:{served.port}/registry.k8s.io/pause:3.9"
    for kind in ("docker-archive", "oci-archive"):
        saved = tmp_path / f"{kind}.tar"
        command = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", source]
        subprocess.run([*command, f"{kind}:{saved}:quay.io/{kind}:1"], check=True, capture_output=True, timeout=60)
        (again,) = import_archive(served.containers, saved)
        assert (again.name, again.tag) == (f"quay.io/{kind}", "1")
        assert (again.digest == first[0].digest) is (kind == "oci-archive")


@pytest.mark.system
def test_podman_pulls_what_was_imported(tmp_path: Path, served: Serving, request: pytest.FixtureRequest) -> None:
    """As an offline node does: names kept, layers unpacked."""
    assert shutil.which("podman"), "apt install podman"
    import_archive(served.containers, docker_archive(tmp_path / "a.tar", "registry.k8s.io/pause:3.9"))
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    # Its runroot may have 50 characters, fewer than pytest's folders.
    run = tempfile.mkdtemp(prefix="podman-")
    request.addfinalizer(lambda: shutil.rmtree(run, ignore_errors=True))
    storage = ["--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
    source = f"127.0.0.1:{served.port}/registry.k8s.io/pause:3.9"
    done = subprocess.run(
        ["podman", *storage, "pull", "--tls-verify=false", "--signature-policy", str(policy), source],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    images = subprocess.run(
        ["podman", *storage, "images", "--format", "{{.Repository}}:{{.Tag}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert images.stdout.split() == [source]
