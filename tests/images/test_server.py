"""The bulk server over real sockets."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from provisioner.domain.events import Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Address, Machine, Phase, Slot
from tests.images.publisher import DISK, KERNEL, flatcar
from tests.images.serving import NOW, Serving, serving

MACHINE = Machine(id=uuid4(), slot=Slot(uuid4(), "node1"), addresses=(Address(uuid4(), ip_address("127.0.0.1")),))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, inventory=Inventory.build([MACHINE])) as running:
        running.store.import_dir(flatcar(tmp_path / "release", version="1"), "flatcar")
        (running.payload / "images").mkdir()
        (running.payload / "images" / "app.tar").write_bytes(os.urandom(5000))
        (tmp_path / "secret").write_text("secret")
        (running.payload / "out").symlink_to("../secret")
        yield running


@pytest.fixture
def client(made: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=made.url, timeout=10, follow_redirects=False) as http:
        yield http


def path(name: str = KERNEL) -> str:
    return f"/images/flatcar/1/{name}"


def content(made: Serving, name: str = KERNEL) -> bytes:
    return (made.store.root / "flatcar" / "1" / name).read_bytes()


def test_a_file_comes_whole_with_the_headers_that_firmware_and_installers_read(
    made: Serving, client: httpx.Client
) -> None:
    answer = client.get(path())
    whole = content(made)
    entry = made.store.get("flatcar").file(KERNEL)
    assert entry is not None
    assert (answer.status_code, answer.http_version, answer.content) == (200, "HTTP/1.1", whole)
    assert answer.headers["content-length"] == str(len(whole))
    assert answer.headers["etag"] == f'"{entry.sha256}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "date" in answer.headers
    assert "content-encoding" not in answer.headers
    assert all(value.strip() for value in answer.headers.values())


def test_a_head_has_the_same_headers_and_no_body(client: httpx.Client) -> None:
    whole, head = client.get(path()), client.head(path())
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "accept-ranges", "content-type"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=60000-999999", 60000, None)],
)
def test_parts_are_sent_by_range(
    made: Serving, client: httpx.Client, asked: str, first: int, last: int | None
) -> None:
    whole = content(made)
    expected = whole[first : last + 1 if last is not None else None]
    answer = client.get(path(), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, expected)
    start = first % len(whole)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(expected))


def test_conditions(made: Serving, client: httpx.Client) -> None:
    size = len(content(made))
    etag = client.head(path()).headers["etag"]
    beyond = client.get(path(), headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    unchanged = client.get(path(), headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    stale = client.get(path(), headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert (stale.status_code, len(stale.content)) == (200, size)
    fresh = client.get(path(), headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (fresh.status_code, len(fresh.content)) == (206, 10)
    assert client.get(path(), headers={"If-Match": '"old"'}).status_code == 412


def test_one_connection_carries_many_answers(made: Serving) -> None:
    with socket.create_connection(("127.0.0.1", made.port), timeout=10) as sock, sock.makefile("rb") as reader:
        for _ in range(5):
            sock.sendall(f"GET {path()} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n".encode())
            assert b" 206 " in reader.readline()
            while reader.readline() not in (b"\r\n", b""):
                pass
            assert reader.read(10) == content(made)[:10]


@pytest.mark.rule("threat-09")
@pytest.mark.parametrize(
    "target",
    [
        "/images/../secret",
        "/images/flatcar/1/../../../secret",
        "/images/flatcar/1/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret",
        "/images/flatcar/../flatcar/1/manifest.json",
        "/images/flatcar/1/manifest.json",
        "/images/%2e%2e/x/secret",
        "/payload/../secret",
        "/payload/%2e%2e/secret",
        "/payload/..%2fsecret",
        "/payload/images/../../secret",
        "/payload//etc/passwd",
        "/payload/out",
        "/payload/images",
        "/payload/%00",
        "/payload/%ff%fe",
        "/payload/..\\secret",
        "//etc/passwd",
        "/%2fetc/passwd",
    ],
)
def test_no_path_leads_out_or_to_what_is_not_listed(made: Serving, target: str) -> None:
    with socket.create_connection(("127.0.0.1", made.port), timeout=10) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in (b"400", b"403", b"404")
    assert b"secret\r\n" not in answer
    assert not answer.endswith(b"secret")
    assert b"root:" not in answer


def test_payload_is_served_with_ranges_and_its_own_etag(made: Serving, client: httpx.Client) -> None:
    answer = client.get("/payload/images/app.tar")
    assert answer.content == (made.payload / "images" / "app.tar").read_bytes()
    part = client.get("/payload/images/app.tar", headers={"Range": "bytes=-3", "If-Range": answer.headers["etag"]})
    assert (part.status_code, part.content) == (206, answer.content[-3:])
    (made.payload / "images" / "app.tar").write_bytes(b"new")
    assert client.head("/payload/images/app.tar").headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/images/flatcar/1/nothing", KERNEL),
        ("/images/flatcar/2/x", "there is: flatcar/1"),
        ("/images/none/1/x", "there is: flatcar/1"),
        ("/images/", "/images/flatcar/1/"),
        ("/", "/images/flatcar/1/"),
        ("/payload/nothing", "no file 'nothing'"),
    ],
)
def test_a_404_says_what_there_is(client: httpx.Client, target: str, told: str) -> None:
    answer = client.get(target)
    assert answer.status_code == 404
    assert told in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_nothing_can_be_written(client: httpx.Client) -> None:
    for method in ("PUT", "POST", "DELETE"):
        answer = client.request(method, path(), content=b"x")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET,HEAD"
    assert client.get("/healthz").text == "ok\n"


def test_a_gz_beside_a_file_never_replaces_it(made: Serving, client: httpx.Client, tmp_path: Path) -> None:
    source = tmp_path / "pair"
    source.mkdir()
    (source / "initrd").write_bytes(b"plain")
    (source / "initrd.txt.gz").write_bytes(b"other")
    (source / "initrd.txt").write_bytes(b"text")
    made.store.import_dir(source, "pair", "1")
    answer = client.get("/images/pair/1/initrd.txt", headers={"Accept-Encoding": "gzip"})
    assert (answer.content, "content-encoding" in answer.headers) == (b"text", False)


@pytest.mark.rule("fault-20")
def test_a_file_truncated_at_rest_is_not_served(made: Serving, client: httpx.Client) -> None:
    os.truncate(made.store.root / "flatcar" / "1" / KERNEL, 100)
    answer = client.get(path())
    assert answer.status_code == 503
    assert "truncated: 100 bytes" in answer.text
    assert "import it again" in answer.text


@pytest.mark.rule("fault-19")
def test_an_image_replaced_while_served_ends_with_the_bytes_it_began_with(made: Serving, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.mkdir()
    old = os.urandom(30_000_000)
    (source / "rootfs").write_bytes(old)
    made.store.import_dir(source, "big", "1")
    with httpx.Client(timeout=10) as http, http.stream("GET", f"{made.url}/images/big/1/rootfs") as answer:
        chunks = answer.iter_raw(65536)
        got = next(chunks)
        (source / "rootfs").write_bytes(os.urandom(20_000_000))
        made.store.import_dir(source, "big", "1")
        got += b"".join(chunks)
        assert got == old
        resumed = http.get(
            f"{made.url}/images/big/1/rootfs", headers={"Range": "bytes=5-", "If-Range": answer.headers["etag"]}
        )
        assert (resumed.status_code, len(resumed.content)) == (200, 20_000_000)


def test_a_known_machines_first_bytes_are_on_its_timeline_once(made: Serving, client: httpx.Client) -> None:
    client.get(path())
    client.head(path())
    client.get(path())
    client.get(path(), headers={"Range": "bytes=100-"})
    client.get(path(DISK))
    kernel, disk = made.recorder.events
    assert (kernel.kind, kernel.machine_id, kernel.phase, kernel.at) == (
        Kind.IMAGE_READ,
        MACHINE.id,
        Phase.KERNEL,
        NOW,
    )
    assert kernel.message == f"reads {KERNEL}, 0.1 MB"
    assert (disk.phase, disk.data["path"]) == (None, path(DISK))


@pytest.mark.rule("fault-18")
def test_clients_that_never_finish_their_headers_are_closed_and_hinder_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, header_seconds=1.0) as made, contextlib.ExitStack() as stack:
        (made.payload / "file").write_bytes(b"served")
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", made.port), timeout=10)) for _ in range(2000)
        ]
        for sock in slow[::2]:
            sock.sendall(b"GET /payload/file HTTP/1.1\r\nX-Slow: ")
        assert httpx.get(f"{made.url}/payload/file", timeout=20).content == b"served"
        began = time.monotonic()
        for sock in slow[::2]:
            # A drip of header bytes does not extend the time; on a busy host it is over for some by now.
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"a")
        for sock in slow:
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1000) == b""
        assert time.monotonic() - began < 8


def test_a_client_that_leaves_in_the_middle_hinders_nobody(made: Serving) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", made.port), timeout=10) as sock:
            sock.sendall(f"GET {path()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert httpx.get(made.url + path(), timeout=5).content == content(made)


@pytest.mark.system
def test_curl_resumes_a_broken_download(made: Serving, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(content(made)[:1000])
    subprocess.run(["curl", "-sS", "--fail", "-C", "-", "-o", str(out), made.url + path()], check=True, timeout=20)
    assert out.read_bytes() == content(made)


@pytest.mark.system
def test_a_gigabyte_is_sent_by_the_kernel_and_memory_stays_small(made: Serving, tmp_path: Path) -> None:
    big = made.payload / "gigabyte"
    with big.open("wb") as file:
        file.truncate(2**30)
    before = _resident()
    with subprocess.Popen(
        ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download}", f"{made.url}/payload/gigabyte"],
        stdout=subprocess.PIPE,
        text=True,
    ) as download:
        told, _ = download.communicate(timeout=60)
    assert told == str(2**30)
    assert _resident() - before < 30_000_000


@pytest.mark.system
@pytest.mark.rule("fault-15")
def test_the_service_lets_a_download_finish_when_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "payload").mkdir()
    body = os.urandom(20_000_000)
    (tmp_path / "payload" / "file").write_bytes(body)
    program = (
        "import asyncio, pathlib, signal, sys\n"
        "from tests.images.serving import FixedSnapshot, Recorder\n"
        "from provisioner.images.server import create_app, listening\n"
        "from provisioner.images.store import ImageStore\n"
        "data = pathlib.Path(sys.argv[1])\n"
        "from provisioner.images.containers import ContainerStore\n"
        "from provisioner.images.payload import PayloadStore\n"
        "store, payload = ImageStore(data / 'images'), PayloadStore(data / 'payload')\n"
        "containers = ContainerStore(data / 'containers')\n"
        "from provisioner.images.traffic import Traffic\n"
        "traffic = Traffic(FixedSnapshot(), 256)\n"
        "app = create_app(store, payload, FixedSnapshot(), Recorder(), lambda: 0, containers, traffic)\n"
        "async def serve():\n"
        "    stopped = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)\n"
        "    async with listening(app, '127.0.0.1', 0) as port:\n"
        "        print(port, flush=True)\n"
        "        await stopped.wait()\n"
        "with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:\n"
        "    runner.run(serve())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as service:
        try:
            assert service.stdout is not None
            port = int(service.stdout.readline())
            with httpx.stream("GET", f"http://127.0.0.1:{port}/payload/file", timeout=20) as answer:
                chunks = answer.iter_raw(65536)
                got = next(chunks)
                service.terminate()
                got += b"".join(chunks)
            assert got == body
            assert service.wait(20) == 0
        finally:
            service.kill()


def _resident() -> int:
    """Bytes of this process, which the server is part of."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
