"""What this machine knows about reaching packages: apt's sources and proxies, pip's and npm's settings.

A chroot gets them at run time, so that no mirror or registry is written down in the project.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CODENAME = "bookworm"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = "/etc/ssl/machine-certificates.crt"
"""Where a chroot finds this machine's certificate authorities; its own bundle belongs to its own package."""


@dataclass(frozen=True)
class Source:
    """One archive as apt is told of it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str = ""


def one_line(text: str) -> Iterator[Source]:
    """``deb [options] URI SUITE COMPONENT…`` (sources.list(5), one-line-style)."""
    for line in text.splitlines():
        found = re.match(
            r"deb\s+(?:\[(?P<options>[^]]*)]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<rest>[^#]*)", line
        )
        if found:
            signed = re.search(r"signed-by=(\S+)", found["options"] or "")
            yield Source(found["uri"], (found["suite"],), tuple(found["rest"].split()), signed[1] if signed else "")


def deb822(text: str) -> Iterator[Source]:
    """Stanzas of ``Types: URIs: Suites: Components: Signed-By:`` (sources.list(5), deb822-style)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {key.lower(): value for key, value in re.findall(r"^([\w-]+):\s*(.*(?:\n[ \t].*)*)", stanza, re.M)}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").strip() == "no":
            continue
        for uri in fields["uris"].split():
            keyring = fields.get("signed-by", "").strip()
            yield Source(
                uri,
                tuple(fields["suites"].split()),
                tuple(fields.get("components", "").split()),
                keyring if keyring.startswith("/") else "",
            )


def debian_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """The archives of the release itself, its updates and its security fixes; nobody else's."""
    found: list[Source] = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if path.is_file():
            read = deb822 if path.suffix == ".sources" else one_line
            found += read(path.read_text())
    return [source for source in found if all(suite.split("-")[0] == CODENAME for suite in source.suites)]


def release(sources: Iterable[Source]) -> Source:
    """The archive to bootstrap from."""
    for source in sources:
        if CODENAME in source.suites:
            return source
    raise LookupError(f"apt on this machine knows no archive of Debian {CODENAME}")


def apt_settings() -> str:
    """Proxies and time-outs, as apt.conf text."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True, timeout=30)
    return "".join(f"{line}\n" for line in dump.stdout.splitlines() if re.search(r"Proxy|Timeout|Retries", line))


def client_environment() -> dict[str, str]:
    """pip's and npm's settings and the proxies of this machine, as environment variables."""
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, timeout=60
    )
    env = {
        f"PIP_{key.upper().replace('-', '_')}": value
        for key, value in re.findall(r"^\S+\.([\w-]+)='(.*)'$", listed.stdout, re.M)
    }
    env |= {
        key: value
        for key, value in os.environ.items()
        if key.startswith("PIP_") or key.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    }
    registry = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, check=False, timeout=60
    )
    if registry.returncode == 0:
        env["npm_config_registry"] = registry.stdout.strip()
    if _BUNDLE.exists():
        names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "npm_config_cafile")
        env |= dict.fromkeys(names, CERTIFICATES)
    return env


def shared_paths(env: dict[str, str]) -> dict[Path, Path]:
    """What those settings point at on this machine's disk: path here → path in the chroot."""
    paths = {_BUNDLE: Path(CERTIFICATES)} if _BUNDLE.exists() else {}
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        for word in env.get(name, "").split():
            path = Path(word.removeprefix("file://"))
            # An index's links lead beside it, to ../files.
            path = path.parent if path.name == "simple" else path
            if path.is_absolute() and path.is_dir():
                paths[path] = path
    return paths
