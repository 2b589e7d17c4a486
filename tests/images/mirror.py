"""A publisher's web server on loopback, laid out like the real ones, that can break off and change its mind."""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.images import publisher

ARCH = "x86_64"


@dataclass
class Mirror:
    """``files`` by path; ``cut`` breaks a path's next answer off after so many bytes."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Paths with the Range that was asked for."""
    port: int = 0
    together: threading.Barrier | None = None
    """Files wait here until so many are asked for at the same time."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put_folder(self, prefix: str, folder: Path) -> None:
        for path in folder.iterdir():
            self.files[f"{prefix}/{path.name}"] = path.read_bytes()


@contextmanager
def mirror() -> Iterator[Mirror]:
    made = Mirror()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            # A proxy is asked by the whole URL.
            path = "/" + self.path.split("/", 3)[3] if self.path.startswith("http://") else self.path
            made.asked.append((path, asked))
            content = made.files.get(path)
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if made.together is not None and len(content) > 30_000:
                made.together.wait(20)
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            begin = 0
            if asked and self.headers.get("If-Range") == etag:
                begin = int(asked.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            until = made.cut.pop(path, len(content))
            self.wfile.write(content[begin:until])
            if until < len(content):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Tests read ``asked``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(frozen=True)
class Signer:
    """A throw-away key, made by GnuPG itself."""

    home: Path
    fingerprint: str
    armored: Path

    @classmethod
    def make(cls, home: Path) -> "Signer":
        home.mkdir(mode=0o700)
        gpg = (
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
        )
        subprocess.run([*gpg, "--quick-gen-key", "Releases", "ed25519", "sign", "0"], check=True, timeout=60)
        listed = subprocess.run([*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True, text=True)
        fingerprint = next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr:"))
        exported = subprocess.run([*gpg, "--export", "--armor"], check=True, capture_output=True).stdout
        (home / "key.asc").write_bytes(exported)
        return cls(home, fingerprint, home / "key.asc")

    def sign(self, path: Path) -> None:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--detach-sign"]
        subprocess.run([*command, "--output", f"{path}.sig", str(path)], check=True, timeout=60)

    def end(self) -> None:
        """GnuPG left an agent behind."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, timeout=20)


def flatcar(made: Mirror, folder: Path, signer: Signer, version: str = "3815.2.0", *, newest: bool = True) -> None:
    """``/amd64-usr/VERSION/`` and, for the newest, ``/amd64-usr/current/``."""
    publisher.flatcar(folder, version)
    for name in (publisher.KERNEL, publisher.INITRD, publisher.DISK):
        signer.sign(folder / name)
    made.put_folder(f"/amd64-usr/{version}", folder)
    if newest:
        made.put_folder("/amd64-usr/current", folder)


def fedora_coreos(made: Mirror, folder: Path, signer: Signer, version: str, *, newest: bool = True) -> None:
    """Stream metadata, build metadata, and the files of the live system."""
    folder.mkdir()
    builds = f"/prod/streams/stable/builds/{version}/{ARCH}"
    pxe, images = {}, {}
    for part, ending in (("kernel", f"-{ARCH}"), ("initramfs", f".{ARCH}.img"), ("rootfs", f".{ARCH}.img")):
        path = folder / f"fedora-coreos-{version}-live-{part}{ending}"
        path.write_bytes(os.urandom(30_000))
        signer.sign(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        location = f"{made.url}{builds}/{path.name}"
        pxe[part] = {"location": location, "signature": f"{location}.sig", "sha256": digest}
        images[f"live-{part}"] = {"path": path.name, "sha256": digest, "size": path.stat().st_size}
    made.put_folder(builds, folder)
    made.files[f"{builds}/meta.json"] = json.dumps({"buildid": version, "images": images}).encode()
    if newest:
        metal = {"release": version, "formats": {"pxe": pxe}}
        stream = {"stream": "stable", "architectures": {ARCH: {"artifacts": {"metal": metal}}}}
        made.files["/streams/stable.json"] = json.dumps(stream).encode()
