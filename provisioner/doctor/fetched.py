"""Boot files fetched from the running appliance as a machine would, and compared with those on disk."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx

from provisioner.doctor.facts import Fetch, Loader

_SECONDS = 5.0
_CHUNK = 1 << 20


def recorded(folder: Path) -> tuple[Loader, ...]:
    """The loaders of the manifest, each compared with what was recorded when it was collected."""
    try:
        entries = json.loads((folder / "manifest.json").read_text())["files"]
    except (OSError, ValueError, KeyError):
        return ()
    return tuple(Loader(entry["name"], _fault(folder / entry["name"], entry["sha256"])) for entry in entries)


def _fault(file: Path, sha256: str) -> str:
    try:
        with file.open("rb") as reader:
            actual = hashlib.file_digest(reader, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if actual == sha256 else "is not the file that was collected"


def by_tftp(host: str, port: int, folder: Path, names: Sequence[str]) -> list[Fetch]:
    """With another implementation's client, in its own process."""
    argv = [sys.executable, "-P", "-m", "provisioner.doctor.tftp_read", host, str(port), str(_SECONDS), *names]
    told: dict[str, dict[str, str]] = {}
    said = ""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30 + 20 * len(names), check=False)
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
        told = {line["file"]: line for line in map(json.loads, done.stdout.splitlines())}
    except (subprocess.TimeoutExpired, ValueError) as error:
        said = f"the client did not end ({type(error).__name__})"
    fetches = []
    for name in names:
        url = f"tftp://{host}{'' if port == 69 else f':{port}'}/{name}"
        line = told.get(name)
        if line is None:
            fetches.append(Fetch("tftp", url, failed=said))
        else:
            same = not line["failed"] and not _fault(folder / name, line["sha256"])
            fetches.append(Fetch("tftp", url, same, line["failed"]))
    return fetches


def by_http(wanted: Iterable[tuple[str, str]]) -> list[Fetch]:
    """``wanted``: URLs, and the sha256 of the file on disk."""
    # A proxy of the environment would be asked for addresses that only we can reach.
    with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
        return [_get(client, url, sha256) for url, sha256 in wanted]


def _get(client: httpx.Client, url: str, sha256: str) -> Fetch:
    actual = hashlib.sha256()
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                return Fetch("http", url, failed=f"status {answer.status_code}")
            for chunk in answer.iter_raw(_CHUNK):
                actual.update(chunk)
    except httpx.HTTPError as error:
        return Fetch("http", url, failed=str(error) or type(error).__name__)
    return Fetch("http", url, same=actual.hexdigest() == sha256)


def sha256_of(file: Path) -> str:
    """Hex; empty when the file cannot be read."""
    try:
        with file.open("rb") as reader:
            return hashlib.file_digest(reader, "sha256").hexdigest()
    except OSError:
        return ""
