"""HTTPS BMCs on loopback: a Redfish service that serves a tree, a MicroBlade chassis manager, and broken ones."""

import copy
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioner.domain.bmc import Bmc, Login

LOGIN = Login("admin", "secret-of-the-test")


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class HttpsBmc:
    """``reply`` answers (method, path, headers, body); None drops the connection without a word."""

    reply: Callable[[str, str, dict[str, str], bytes], Answer | None]
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def bmc(self, protocol: str = "redfish", certificate: str = "") -> Bmc:
        return Bmc(uuid4(), "127.0.0.1", self.port, protocol, certificate=certificate)


def certificate(folder: Path) -> Path:
    """A fresh self-signed certificate that has run out, as BMCs have them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bmc")])
    then = datetime.now(UTC) - timedelta(days=900)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(then)
        .not_valid_after(then + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{uuid4()}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@contextmanager
def served(
    bmc: HttpsBmc, folder: Path, *, pem: Path | None = None, port: int = 0, host: str = "127.0.0.1"
) -> Iterator[HttpsBmc]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            bmc.asked.append((self.command, self.path))
            said = bmc.reply(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            if said is None:
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # clients that hang up are part of the tests

    server = Server((host, port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem or certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    bmc.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield bmc
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Redfish:
    """A service over a tree of resources; power and boot override work."""

    def __init__(self, resources: dict[str, Any], *, sessions: bool = True) -> None:
        self.resources = copy.deepcopy(resources)
        self.sessions = sessions
        self.open: set[str] = set()
        self.failures = 0
        self.patched: list[dict[str, Any]] = []
        self.resets: list[str] = []

    @property
    def system(self) -> dict[str, Any]:
        found: dict[str, Any] = next(d for d in self.resources.values() if "PowerState" in d)
        return found

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        sent = json.loads(body) if body else {}
        if method == "POST" and path.endswith("/SessionService/Sessions"):
            return self._session(sent)
        token = headers.get("x-auth-token", "")
        if path != "/redfish/v1/" and token not in self.open and "authorization" not in headers:
            return Answer(401, b"{}")
        if method == "DELETE":
            self.open.discard(token)
            return Answer(204)
        if method == "POST" and path.endswith("ComputerSystem.Reset"):
            self.resets.append(sent["ResetType"])
            self.system["PowerState"] = "Off" if sent["ResetType"] == "ForceOff" else "On"
            return Answer(204)
        if method == "PATCH":
            self.patched.append(sent)
            return Answer(200, b"{}")
        found = self.resources.get(path)
        return Answer(404, b"{}") if found is None else Answer(200, json.dumps(found).encode())

    def _session(self, sent: dict[str, str]) -> Answer:
        if not self.sessions:
            return Answer(405, b"{}")
        if self.failures >= 3 or sent != {"UserName": LOGIN.user, "Password": LOGIN.password}:
            self.failures += 1
            return Answer(401, b"{}")
        token = uuid4().hex
        self.open.add(token)
        where = f"https://bmc.example/redfish/v1/SessionService/Sessions/{token}"
        return Answer(201, b"{}", {"X-Auth-Token": token, "Location": where})


def microblade(blades: dict[int, dict[str, str]]) -> Callable[[str, str, dict[str, str], bytes], Answer | None]:
    """A chassis manager's two pages; ``blades`` by N of the query."""

    def reply(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        if path == "/":
            # Synthetic: its words are ours, its form as Yoo-Installer filled it in.
            return Answer(200, b'<title>MicroBlade CMM</title><form action="/cgi/login.cgi" method="post">')
        if path == "/cgi/login.cgi":
            good = parse_qs(body.decode()) == {"name": [LOGIN.user], "pwd": [LOGIN.password]}
            return Answer(200, b"<html></html>", {"Set-Cookie": "SID=abc; path=/; secure"} if good else {})
        if "SID=abc" not in headers.get("cookie", ""):
            return Answer(401)
        if path == "/cgi/logout.cgi":
            return Answer(200)
        number = int(unquote(path).split("GET_NODE_MB_INFO.XML=(")[1].split(",")[0])
        told = "".join(f' {key}="{value}"' for key, value in blades.get(number, {}).items())
        return Answer(200, f'<?xml version="1.0"?>  <IPMI>  <MBInfo{told}/>  </IPMI>'.encode())

    return reply


def dripping(seconds: float) -> Callable[..., Answer | None]:
    def reply(*_: object) -> Answer | None:
        time.sleep(seconds)
        return None

    return reply
