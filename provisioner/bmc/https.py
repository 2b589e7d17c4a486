"""HTTPS to one BMC: the certificate pinned, no redirects, no proxies, answers bounded.

BMCs sign their own certificates, often expired: authenticity is the fingerprint seen first (trust on first use),
checked in the handshake, before a byte of the login is sent.
"""

import hashlib
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from provisioner.bmc.session import Target
from provisioner.domain.errors import BmcError

LONGEST = 4 << 20
"""Bytes of one answer; the biggest honest ones (a chassis with all its links) are far below."""
_SECONDS = httpx.Timeout(10.0, connect=5.0)
"""Of silence. A BMC that drips is ended by the job's deadline."""


class _Changed(ssl.SSLError):
    """Another certificate than the pinned one."""


class _PinnedContext(ssl.SSLContext):
    pin: str = ""


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
        context = self.context
        assert isinstance(context, _PinnedContext)  # noqa: S101 - only such a context makes this class
        if context.pin and shown != context.pin:
            raise _Changed(f"certificate {shown}")
        context.pin = shown


class Door:
    """Requests to one BMC. Raises BmcError; answers other than 2xx are returned for the caller to judge."""

    def __init__(self, target: Target, client: httpx.Client, context: _PinnedContext) -> None:
        self.target = target
        self._client = client
        self._context = context
        self.headers: dict[str, str] = {}
        """Sent with every request from now on (a session's token)."""

    @property
    def certificate(self) -> str:
        """Fingerprint of what was presented; empty before the first request, and over plain HTTP."""
        return self._context.pin

    def ask(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request; the whole answer is read. Raises BmcError."""
        where = f"BMC {self.target.address} port {self.target.port}"
        if not path.startswith("/") or path.startswith("//"):
            raise BmcError("garbage", f"{where} points to {path[:100]!r}, which is no path of its own", "update it")
        try:
            request = self._client.build_request(
                method, path, content=content, headers={**self.headers, **(headers or {})}
            )
            answer = self._client.send(request, stream=True)
            try:
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > LONGEST:
                        raise BmcError("garbage", f"{where}: {path} is longer than {LONGEST} bytes", "update it")
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise self._told(error, where) from None
        if answer.is_redirect:
            raise BmcError(
                "garbage",
                f"{where} redirects {path} elsewhere, which is not followed",
                "list the BMC by its own address, and switch HTTPS on in it",
            )
        return httpx.Response(answer.status_code, headers=_undecoded(answer.headers), content=body)

    def json(self, method: str, path: str, data: Mapping[str, Any] | None = None, **headers: str) -> httpx.Response:
        """As ``ask``, with a JSON body."""
        sent = None if data is None else json.dumps(data).encode()
        return self.ask(
            method, path, content=sent, headers={"Content-Type": "application/json", **headers} if sent else headers
        )

    def _told(self, error: httpx.HTTPError, where: str) -> BmcError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _Changed):
                return BmcError(
                    "refused",
                    f"{where} shows {cause.args[0]}, not the pinned {self.target.certificate or self.certificate}",
                    f"if the BMC was replaced, `provisioner bmc add {self.target.address} --new-certificate`; else "
                    "somebody is between",
                )
            if isinstance(cause, ssl.SSLError):
                return BmcError("garbage", f"{where} does not speak TLS ({cause.reason})", "correct the port")
            if isinstance(cause, ConnectionRefusedError):
                return BmcError("refused", f"{where}: nothing listens there", "switch HTTPS on in the BMC")
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.TimeoutException | httpx.ConnectError):
            return BmcError("unreachable", f"{where} does not answer", "check its address, cable and VLAN")
        if isinstance(error, httpx.NetworkError):
            return BmcError("unreachable", f"{where} dropped the connection", "try again; if it stays, restart it")
        return BmcError(
            "garbage", f"{where} answers, but not in HTTP ({type(error).__name__})", "correct the address or port"
        )


@contextmanager
def opened(target: Target) -> Iterator[Door]:
    """A door that stays open for one job. Port 80 is plain HTTP, everything else TLS."""
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old BMCs offer nothing newer than RSA keys of 1024 bits; their fingerprint is as good.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.sslsocket_class = _PinnedSocket
    context.pin = target.certificate
    host = f"[{target.address}]" if ":" in target.address else target.address
    scheme = "http" if target.port == 80 else "https"
    with httpx.Client(
        base_url=f"{scheme}://{host}:{target.port}",
        verify=context,
        follow_redirects=False,
        trust_env=False,
        timeout=_SECONDS,
        headers={"Accept": "application/json, text/xml;q=0.9, */*;q=0.1", "User-Agent": "provisioner"},
    ) as client:
        yield Door(target, client, context)


def path_of(location: str) -> str:
    """The path of a Location header, which may be a whole URL; empty if there is none."""
    with suppress(httpx.InvalidURL):
        return httpx.URL(location).path if location else ""
    return ""


def _undecoded(headers: httpx.Headers) -> list[tuple[str, str]]:
    """The body is decoded already: it must not be tried again."""
    gone = ("content-encoding", "transfer-encoding", "content-length")
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in gone]
