"""Fetching big files: several at once, resumed where they broke off, proxies from the environment.

A file under way is ``NAME.part`` with ``NAME.part.from`` beside it, which says what it is a part of: only if the
server still has the same (RFC 9110 §13.1.5, If-Range) is the rest asked for.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import httpx

from provisioner.domain.errors import Refused
from provisioner.images.publishers import Wanted

Progress = Callable[[int, int], None]
"""Bytes done and bytes known of so far; called a few times a second. What it raises ends the download."""

AT_ONCE = 4
TRIES = 5
"""In a row without a single new byte."""
SMALL = 8 << 20
"""Bytes; release documents are kilobytes."""
_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
_PAUSE = 0.5
"""Seconds before a second try; doubled with each further one."""


class Downloads:
    """One release's downloads. Use as a context manager."""

    def __init__(self, progress: Progress = lambda _done, _total: None, pause: float = _PAUSE) -> None:
        # Proxies, NO_PROXY and SSL_CERT_FILE are taken from the environment by httpx.
        self._client = httpx.Client(
            timeout=_TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}
        )
        self._progress = progress
        self._pause = pause
        self._lock = Lock()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._told = 0.0
        self._stop = Event()

    def get(self, url: str) -> bytes:
        """A small document. Raises Refused."""
        for attempt in range(TRIES):
            try:
                with self._client.stream("GET", url) as answer:
                    _accept(url, answer, (200,))
                    data = b""
                    for chunk in answer.iter_raw():
                        data += chunk
                        if len(data) > SMALL:
                            raise Refused(f"{url} has more than {SMALL} bytes", "that is no release document")
                    return data
            except httpx.HTTPError as error:
                failure = error
                time.sleep(self._pause * 2**attempt)
        raise _unreachable(url, failure) from failure

    def fetch(self, files: Sequence[Wanted], folder: Path) -> None:
        """Into ``folder``, names as wanted; what is complete there already is not asked for again.

        Raises Refused; what has arrived stays, and another call goes on from there.
        """
        with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="download") as pool:
            running = [pool.submit(self._one, file, folder) for file in files]
            try:
                for future in running:
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, file: Wanted, folder: Path) -> None:
        target, part = folder / file.name, folder / f"{file.name}.part"
        if target.exists():
            self._count(file.name, target.stat().st_size, target.stat().st_size)
            return
        tries = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                self._rest(file, part, before)
                break
            except httpx.HTTPError as error:
                grown = part.exists() and part.stat().st_size > before
                tries = 1 if grown else tries + 1
                if tries >= TRIES:
                    raise _unreachable(file.url, error) from error
                with self._lock:
                    self._tell()  # Whoever wants it to end says so here, also when nothing arrives.
                if self._stop.wait(self._pause * 2 ** (tries - 1)):
                    return
        if not self._stop.is_set():
            part.rename(target)
            _origin(part).unlink(missing_ok=True)

    def _rest(self, file: Wanted, part: Path, have: int) -> None:
        origin = _origin(part)
        known = origin.read_text() if have and origin.exists() else ""
        headers = {"Range": f"bytes={have}-", "If-Range": known} if known else {}
        with self._client.stream("GET", file.url, headers=headers) as answer:
            if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # All of it had arrived before the connection broke.
            _accept(file.url, answer, (200, 206) if known else (200,))
            resumed = answer.status_code == 206
            length = answer.headers.get("Content-Length")
            total = (have if resumed else 0) + int(length or 0)
            if not resumed:
                # A weak validator proves nothing byte by byte; then a broken download begins anew.
                etag = answer.headers.get("ETag", "")
                origin.write_text(etag if etag.startswith('"') else "")
            with part.open("ab" if resumed else "wb") as writer:
                size = writer.tell()
                # As it arrives: what httpx gathers into chunks of a size is lost when the connection breaks.
                for chunk in answer.iter_raw():
                    if self._stop.is_set():
                        return
                    writer.write(chunk)
                    size += len(chunk)
                    self._count(file.name, size, total)
                writer.flush()
                os.fsync(writer.fileno())
            if length is not None and size != total:
                raise httpx.RemoteProtocolError(f"{size} of {total} bytes arrived")

    def _count(self, name: str, done: int, total: int) -> None:
        with self._lock:
            self._done[name], self._total[name] = done, max(total, done)
            now = time.monotonic()
            if now - self._told < 0.2 and done < total:
                return
            self._told = now
            self._tell()

    def _tell(self) -> None:
        self._progress(sum(self._done.values()), sum(self._total.values()))

    def __enter__(self) -> "Downloads":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _accept(url: str, answer: httpx.Response, codes: tuple[int, ...]) -> None:
    if answer.status_code in codes:
        return
    if answer.status_code >= 500 or answer.status_code == 429:
        raise httpx.RemoteProtocolError(f"HTTP {answer.status_code}")
    remedy = "does this version exist there?" if answer.status_code == 404 else "check the address and the proxy"
    raise Refused(f"{url} was refused: HTTP {answer.status_code}", remedy)


def _unreachable(url: str, error: Exception) -> Refused:
    return Refused(
        f"{url} cannot be fetched ({error or type(error).__name__})",
        "check network and proxy (https_proxy), then run it again: it goes on where it stopped",
    )


def _origin(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")
