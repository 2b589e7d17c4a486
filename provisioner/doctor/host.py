"""What this host shows of itself: interfaces, sockets, rights, limits, firewall. Reads, never changes."""

import ctypes
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from provisioner.doctor.facts import Answer, Disk, Listener, Probed, Wire
from provisioner.domain.subnet import IPNetwork

_PROC = Path("/proc")
_NET = Path("/sys/class/net")
_CAPABILITIES = {10: "cap_net_bind_service", 12: "cap_net_admin", 13: "cap_net_raw"}
_IFF_UP = 1
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""
_SECONDS = 10


def wire(name: str, stated: IPv4Address | None, dhcp: str) -> Wire:
    here = _NET / name
    others = tuple(sorted(entry.name for entry in _NET.iterdir() if entry.name != "lo"))
    if "/" in name or not here.exists():
        return Wire(name, exists=False, stated=stated, dhcp=dhcp, others=others)
    found = _json("ip", "-j", "-4", "addr", "show", "dev", name) or []
    return Wire(
        name,
        up=bool(int(_read(here / "flags", "0x0"), 16) & _IFF_UP),
        carrier=_read(here / "carrier", "0") == "1",
        addresses=tuple(
            IPv4Interface(f"{info['local']}/{info['prefixlen']}")
            for link in found
            for info in link.get("addr_info", ())
        ),
        stated=stated,
        dhcp=dhcp,
        others=others,
        # ip-sysctl: the larger of "all" and the interface's own is in force.
        reverse_path=max(_number(_PROC / f"sys/net/ipv4/conf/{each}/rp_filter") for each in ("all", name)),
    )


def listeners() -> tuple[Listener, ...] | None:
    """Bound UDP and listening TCP sockets of this network namespace; None without ``ss``."""
    text = _output("ss", "-H", "-l", "-n", "-t", "-u", "-p", "-e")
    return None if text is None else tuple(found for line in text.splitlines() if (found := listener(line)))


def listener(line: str) -> Listener | None:
    """A line of ``ss -Hlntupe``. The socket of a process that we may not look into is ours by its owner: the
    services have a user of their own."""
    words = line.split()
    if len(words) < 5 or words[0] not in ("udp", "tcp"):
        return None
    address, _, port = words[4].rpartition(":")
    if not port.isdigit():
        return None
    address, _, device = address.partition("%")
    user = re.search(r'\(\("([^"]*)",pid=(\d+)', line)
    pid = int(user[2]) if user else 0
    ours = any(_is_ours(int(each)) for each in re.findall(r"pid=(\d+)", line))
    if not pid and (owner := re.search(r"\buid:(\d+)", line)):
        ours = int(owner[1]) == os.geteuid() != 0
    return Listener(words[0], address, int(port), device, user[1] if user else "", pid, ours, _unit(pid))


def _unit(pid: int) -> str:
    """By its control group (systemd names it like the unit); a program that somebody typed has none."""
    found = re.search(
        r"/system\.slice/(?:[^/\n]+\.slice/)*([^/\n]+\.service)", _read(_PROC / str(pid) / "cgroup", "")
    )
    return found[1] if pid and found else ""


def _is_ours(pid: int) -> bool:
    argv = _read(_PROC / str(pid) / "cmdline", "").split("\0")
    return any(Path(word).name == "provisioner" for word in argv[:4]) and "serve" in argv


def capabilities() -> frozenset[str]:
    """Of this process, those that matter to us (capabilities(7))."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", _read(_PROC / "self/status", ""), re.MULTILINE)
    bits = int(found[1], 16) if found else 0
    return frozenset(name for bit, name in _CAPABILITIES.items() if bits >> bit & 1)


def synchronised() -> bool | None:
    """Does something discipline the kernel's clock?"""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def disk(path: Path) -> Disk:
    if not path.is_dir():
        return Disk(str(path), exists=False)
    usage, files = shutil.disk_usage(path), os.statvfs(path)
    # Some file systems have no fixed number of inodes and say 0 of 0.
    free_files = files.f_favail if files.f_files else 1_000_000
    return Disk(str(path), True, os.access(path, os.W_OK), usage.free, usage.total, free_files)


def neighbour_limits() -> tuple[int, int] | None:
    folder = _PROC / "sys/net/ipv4/neigh/default"
    if not (folder / "gc_thresh3").exists():
        return None
    return _number(folder / "gc_thresh2"), _number(folder / "gc_thresh3")


def route_device(prefix: IPNetwork) -> str:
    """The interface by which packets to the subnet leave; empty: no route."""
    found = _json("ip", "-j", "route", "get", str(prefix.network_address + 1))
    return str(found[0].get("dev", "")) if found else ""


def ruleset() -> Sequence[Mapping[str, Any]] | None:
    """nftables' rules (those of iptables-nft are among them); None: not readable for us."""
    found = _json("nft", "-j", "list", "ruleset")
    return found.get("nftables", ()) if isinstance(found, dict) else None


def rogues(metrics: Path, wires: Sequence[str]) -> list[Probed]:
    """What the packets service heard at its last probe, from the numbers that it publishes. Empty: no numbers."""
    text = _read(metrics, "")
    if "provisioner_dhcp_rogue_servers" not in text:
        return []
    found = re.findall(
        r'^provisioner_dhcp_rogue_servers\{interface="([^"]*)",address="([^"]*)",mac="([^"]*)"\}',
        text,
        re.MULTILINE,
    )
    return [
        Probed(wire, tuple(Answer(address, mac) for name, address, mac in found if name == wire)) for wire in wires
    ]


def _read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return otherwise


def _number(path: Path) -> int:
    text = _read(path, "0")
    return int(text) if text.isdigit() else 0


def _json(*argv: str) -> Any:
    text = _output(*argv)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _output(*argv: str) -> str | None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=dict(os.environ, PATH=path, LC_ALL="C"),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
