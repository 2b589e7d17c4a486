#!/usr/bin/python3
"""coreos-cloudinit of the lab image: applies a CoreOS cloud-config.

A stand-in, written from the publisher's documented behaviour, for the reader that real CoreOS and
Flatcar machines run. It shares no code with the appliance that renders the configs: two readings of
one format can disagree, and that is what the lab is for.

What it promises:
- keys and value types are judged as the publisher's reader does; `--validate` prints one line per
  finding and exits 1 if there was any, warnings included;
- applying goes on past warnings, stops at the first error, and can be repeated: the installed system
  runs it at every boot;
- `--root DIR` applies below DIR and prints the systemctl calls in place of running them.
"""

import argparse
import base64
import binascii
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import yaml

FETCH_DEADLINE = 300.0  # the publisher's datasourceTimeout
LONGEST_PAUSE = 10.0
UNIT_COMMANDS = (
    "start",
    "stop",
    "restart",
    "reload",
    "try-restart",
    "reload-or-restart",
    "reload-or-try-restart",
)
ENCODINGS = ("base64", "b64", "gzip", "gz", "gzip+base64", "gz+base64", "gzip+b64", "gz+b64")
NETWORK_SUFFIXES = (".network", ".netdev", ".link")

# The shape of a cloud-config. A type is STRING, BOOL, ANY (accepted whole), SCALARS (a mapping of them), a
# one-element list for a sequence, or a dict for a mapping. Keys are compared with "-" read as "_", so drop-ins
# and drop_ins are the same key.
STRING, BOOL, ANY, SCALARS = "string", "bool", "anything", "struct"
# What a daemon's section becomes: environment of its unit, under a prefix.
DAEMONS = {
    "etcd": ("etcd.service", "ETCD_"),
    "etcd2": ("etcd2.service", "ETCD_"),
    "fleet": ("fleet.service", "FLEET_"),
    "locksmith": ("locksmithd.service", "LOCKSMITHD_"),
}
# Sections for what the lab does not have.
IGNORED_SECTIONS = ("flannel", "oem", "update")
SHAPE = {
    "hostname": STRING,
    "manage_etc_hosts": STRING,
    "ssh_authorized_keys": [STRING],
    "users": [
        {
            "name": STRING,
            "passwd": STRING,
            "gecos": STRING,
            "homedir": STRING,
            "shell": STRING,
            "primary_group": STRING,
            "groups": [STRING],
            "ssh_authorized_keys": [STRING],
            "no_create_home": BOOL,
            "no_user_group": BOOL,
            "no_log_init": BOOL,
            "system": BOOL,
        }
    ],
    "write_files": [
        {"path": STRING, "content": STRING, "encoding": STRING, "owner": STRING, "permissions": STRING}
    ],
    "coreos": {
        **dict.fromkeys(IGNORED_SECTIONS, ANY),
        **dict.fromkeys(DAEMONS, SCALARS),
        "units": [
            {
                "name": STRING,
                "content": STRING,
                "command": STRING,
                "enable": BOOL,
                "mask": BOOL,
                "runtime": BOOL,
                "drop_ins": [{"name": STRING, "content": STRING}],
            }
        ],
    },
}


class ConfigError(Exception):
    """The config, or one thing in it, cannot be used; the text says which and why."""


def say(message: str) -> None:
    print(f"coreos-cloudinit: {message}", flush=True)


# --- reading ------------------------------------------------------------------------------------


class Report:
    """Findings in the publisher's words: `line N: warning: unrecognized key "x"`."""

    def __init__(self) -> None:
        self.findings: list[tuple[int, str, str]] = []

    def add(self, line: int, kind: str, message: str) -> None:
        self.findings.append((line, kind, message))

    def lines(self) -> list[str]:
        return [f"line {line}: {kind}: {message}" for line, kind, message in sorted(self.findings)]

    def has_error(self) -> bool:
        return any(kind == "error" for _, kind, _ in self.findings)


def read(text: str, report: Report) -> dict:
    """The recognised part of a cloud-config. What is not recognised is left out and reported."""
    if text.split("\n", 1)[0].rstrip() != "#cloud-config":
        report.add(1, "error", 'must be "#cloud-config" (the lab runs no scripts)')
        return {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        report.add(mark.line + 1 if mark else 1, "error", f"not YAML: {error.problem}")
        return {}
    except yaml.YAMLError as error:
        report.add(1, "error", f"not YAML: {error}")
        return {}
    if root is None:
        return {}
    config = _value(root, SHAPE, "", root.start_mark.line + 1, report)
    if not isinstance(config, dict):
        return {}
    _check(root, report)
    return config


def _value(node: yaml.Node, shape: object, name: str, line: int, report: Report) -> object:
    """The node as `shape` wants it, or None when it has another type.

    Scalars are taken as they are written, not as YAML 1.1 reads them: `permissions: 0644` must not
    become 420, nor a MAC address a base-60 number.
    """
    if shape is ANY:
        return {}
    if shape is SCALARS and isinstance(node, yaml.MappingNode):
        entries = ((_value(value, STRING, key.value, line, report), key.value) for key, value in node.value)
        return {key.replace("-", "_"): value for value, key in entries if value is not None}
    if isinstance(shape, dict) and isinstance(node, yaml.MappingNode):
        return _mapping(node, shape, report)
    if isinstance(shape, list) and isinstance(node, yaml.SequenceNode):
        items = (_value(item, shape[0], name, item.start_mark.line + 1, report) for item in node.value)
        return [item for item in items if item is not None]
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith(":null"):
            return None
        if shape is STRING:
            return node.value
        if shape is BOOL and node.tag.endswith(":bool"):
            return node.value.lower() in ("true", "yes", "on")
    want = {dict: "struct", list: "[]"}.get(type(shape), shape)
    report.add(line, "warning", f'incorrect type for "{name}" (want {want})')
    return None


def _mapping(node: yaml.MappingNode, shape: dict, report: Report) -> dict:
    values = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        known = key.replace("-", "_")
        if known not in shape:
            report.add(line, "warning", f'unrecognized key "{key}"')
            continue
        value = _value(value_node, shape[known], key, line, report)
        if value is not None:
            values[known] = value
    return values


def _check(root: yaml.Node, report: Report) -> None:
    """Values that have the right type and still cannot be applied."""
    for entry in _items(root, "write_files"):
        path, content, encoding = (_child(entry, key) for key in ("path", "content", "encoding"))
        if path and path.value.startswith("/usr/"):
            report.add(path.start_mark.line + 1, "error", "file cannot be written to a read-only filesystem")
        if encoding and content:
            try:
                decode(content.value, encoding.value)
            except ConfigError:
                message = f'content cannot be decoded as "{encoding.value}"'
                report.add(content.start_mark.line + 1, "error", message)
    for unit in _items(_child(root, "coreos"), "units"):
        command = _child(unit, "command")
        if command and command.value not in ("", *UNIT_COMMANDS):
            report.add(command.start_mark.line + 1, "error", f"invalid value {command.value}")


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if str(key.value).replace("-", "_") == name), None)


def _items(node: yaml.Node | None, name: str) -> list:
    child = _child(node, name)
    return child.value if isinstance(child, yaml.SequenceNode) else []


def decode(content: str, encoding: str) -> bytes:
    """The bytes of a write_files entry; raises ConfigError when they are not what `encoding` says."""
    data = content.encode()
    if not encoding:
        return data
    if encoding not in ENCODINGS:
        raise ConfigError(f"unknown encoding {encoding!r}")
    try:
        if encoding.endswith(("base64", "b64")):
            data = base64.b64decode(b"".join(data.split()), validate=True)
        if encoding.startswith("gz"):
            data = zlib.decompress(data, wbits=31)
    except (binascii.Error, zlib.error) as error:
        raise ConfigError(f"content is not {encoding}: {error}") from error
    return data


# --- applying -----------------------------------------------------------------------------------


class System:
    """The machine a config is applied to: a root directory and its systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.live = root == Path("/")

    def path(self, absolute: str) -> Path:
        if not absolute.startswith("/") or ".." in Path(absolute).parts:
            raise ConfigError(f"{absolute!r} is not an absolute path")
        return self.root / absolute.lstrip("/")

    def systemctl(self, *arguments: str) -> None:
        if not self.live:
            print("systemctl", *arguments, flush=True)
            return
        result = subprocess.run(["systemctl", *arguments], check=False, stderr=subprocess.PIPE, text=True)
        if result.returncode:
            raise ConfigError(f"systemctl {' '.join(arguments)}: {result.stderr.strip()}")

    def networkd_runs(self) -> bool:
        """Before networkd has started there is nothing to restart: it will find the new files."""
        return (
            not self.live
            or subprocess.run(["systemctl", "-q", "is-active", "systemd-networkd"], check=False).returncode == 0
        )

    def write(self, absolute: str, data: bytes, mode: int = 0o644, owner: str = "") -> None:
        """Put a whole file in place: a power cut leaves the old one or the new one."""
        target = self.path(absolute)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(data)
        fresh.chmod(mode)
        if owner:
            self.chown(fresh, owner)
        # A masked unit is a link to /dev/null; replace() puts a file there, not through it.
        fresh.replace(target)

    def chown(self, path: Path, owner: str) -> None:
        if os.geteuid() != 0:
            say(f"not root: {path} keeps its owner")
            return
        user, _, group = owner.partition(":")
        uid, default_gid = self._user_ids(user) if user else (-1, -1)
        os.chown(path, uid, self._group_id(group) if group else default_gid)

    def _user_ids(self, user: str) -> tuple[int, int]:
        if user.isdigit():
            return int(user), -1
        entry = self.entry("/etc/passwd", user)
        if entry is None:
            raise ConfigError(f"no user {user!r}")
        return int(entry[2]), int(entry[3])

    def _group_id(self, group: str) -> int:
        if group.isdigit():
            return int(group)
        entry = self.entry("/etc/group", group)
        if entry is None:
            raise ConfigError(f"no group {group!r}")
        return int(entry[2])

    # The account files are edited in place of calling useradd: it wants a running PAM and a root.

    def entries(self, database: str) -> list[list[str]]:
        path = self.path(database)
        return [line.split(":") for line in path.read_text().splitlines()] if path.exists() else []

    def entry(self, database: str, name: str) -> list[str] | None:
        return next((fields for fields in self.entries(database) if fields[0] == name), None)

    def put_entry(self, database: str, fields: list[str], mode: int = 0o644) -> None:
        entries = self.entries(database)
        places = [place for place, entry in enumerate(entries) if entry[0] == fields[0]]
        if places:
            entries[places[0]] = fields
        else:
            entries.append(fields)
        text = "".join(":".join(entry) + "\n" for entry in entries)
        self.write(database, text.encode(), mode)

    def free_id(self, database: str, first: int) -> int:
        taken = {int(entry[2]) for entry in self.entries(database)}
        return next(number for number in range(first, 60000) if number not in taken)


def apply(config: dict, system: System) -> None:
    """In the publisher's order: name, users, keys, files, units. Raises ConfigError or OSError."""
    if hostname := config.get("hostname", ""):
        set_hostname(hostname, system)
    if config.get("manage_etc_hosts") == "localhost":
        name = system.path("/etc/hostname").read_text().strip()
        system.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n".encode())
    for user in config.get("users", []):
        put_user(user, system)
    if keys := config.get("ssh_authorized_keys"):
        put_user({"name": "core", "ssh_authorized_keys": keys}, system)
    for entry in config.get("write_files", []):
        write_file(entry, system)
    coreos = config.get("coreos", {})
    for section in IGNORED_SECTIONS:
        if section in coreos:
            say(f"note: coreos.{section} is accepted and ignored: the lab has no such daemon")
    for section, (unit, prefix) in DAEMONS.items():
        if section in coreos:
            lines = (f'Environment="{prefix}{key.upper()}={value}"\n' for key, value in coreos[section].items())
            drop_in = f"/run/systemd/system/{unit}.d/20-cloudinit.conf"
            system.write(drop_in, f"[Service]\n{''.join(lines)}".encode())
            say(f"drop-in {drop_in} written")
    if units := coreos.get("units"):
        apply_units(units, system)


def set_hostname(hostname: str, system: System) -> None:
    short = hostname.partition(".")[0][:63]  # as the publisher's reader cuts it
    system.write("/etc/hostname", f"{short}\n".encode())
    if system.live:
        Path("/proc/sys/kernel/hostname").write_text(short)
    say(f"hostname {short}")


def put_user(user: dict, system: System) -> None:
    """Create the user if missing; passwords, groups and keys are set either way."""
    name = user.get("name", "")
    if not name:
        raise ConfigError("a user without a name")
    entry = system.entry("/etc/passwd", name)
    if entry is None:
        entry = create_user(user, system)
        say(f"user {name} created")
    if "passwd" in user:
        system.put_entry("/etc/shadow", [name, user["passwd"], "1", "0", "99999", "7", "", "", ""], 0o600)
    for group in user.get("groups", []):
        fields = system.entry("/etc/group", group)
        if fields is None:
            raise ConfigError(f"user {name}: no group {group!r}")
        members = [member for member in fields[3].split(",") if member]
        if name not in members:
            system.put_entry("/etc/group", [*fields[:3], ",".join([*members, name])])
    if keys := user.get("ssh_authorized_keys"):
        owner = f"{entry[2]}:{entry[3]}"
        system.write(f"{entry[5]}/.ssh/authorized_keys", "".join(f"{k}\n" for k in keys).encode(), 0o600, owner)
        system.chown(system.path(f"{entry[5]}/.ssh"), owner)


def create_user(user: dict, system: System) -> list[str]:
    name = user["name"]
    first = 100 if user.get("system") else 1000
    uid = 500 if name == "core" else system.free_id("/etc/passwd", first)  # 500: CoreOS's own number
    if group := user.get("primary_group"):
        fields = system.entry("/etc/group", group)
        if fields is None:
            raise ConfigError(f"user {name}: no group {group!r}")
        gid = int(fields[2])
    elif user.get("no_user_group"):
        gid = 100  # users
    elif fields := system.entry("/etc/group", name):
        gid = int(fields[2])
    else:
        gid = uid
        system.put_entry("/etc/group", [name, "x", str(gid), ""])
    home = user.get("homedir", f"/home/{name}")
    shell = user.get("shell", "/bin/bash")
    entry = [name, "x", str(uid), str(gid), user.get("gecos", ""), home, shell]
    system.put_entry("/etc/passwd", entry)
    system.put_entry("/etc/shadow", [name, "*", "1", "0", "99999", "7", "", "", ""], 0o600)
    if not user.get("no_create_home"):
        system.path(home).mkdir(parents=True, exist_ok=True)
        system.chown(system.path(home), f"{uid}:{gid}")
    return entry


def write_file(entry: dict, system: System) -> None:
    path = entry.get("path", "")
    try:
        mode = int(entry.get("permissions") or "0644", 8)
    except ValueError:
        raise ConfigError(f"{path}: permissions {entry['permissions']!r} are not octal") from None
    data = decode(entry.get("content", ""), entry.get("encoding", ""))
    system.write(path, data, mode, entry.get("owner", ""))
    say(f"wrote {path}")


def apply_units(units: list[dict], system: System) -> None:
    """All files first, then one daemon-reload, then what is to be enabled, masked and started."""
    network_changed = False
    for unit in units:
        name = unit.get("name", "")
        if not name or "/" in name:
            raise ConfigError(f"a unit cannot be called {name!r}")
        is_network = name.endswith(NETWORK_SUFFIXES)
        kind = "network" if is_network else "system"
        directory = f"{'/run' if unit.get('runtime') else '/etc'}/systemd/{kind}"
        if content := unit.get("content"):
            system.write(f"{directory}/{name}", content.encode())
            say(f"unit {name} written to {directory}")
            network_changed |= is_network
        for drop_in in unit.get("drop_ins", []):
            system.write(f"{directory}/{name}.d/{drop_in['name']}", drop_in.get("content", "").encode())
            network_changed |= is_network
        if unit.get("mask"):
            link = system.path(f"{directory}/{name}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to("/dev/null")
    system.systemctl("daemon-reload")
    for unit in units:
        if unit.get("enable"):
            system.systemctl("enable", *(["--runtime"] if unit.get("runtime") else []), unit["name"])
    if network_changed and system.networkd_runs():
        system.systemctl("restart", "systemd-networkd.service")
    for unit in units:
        # --no-block: this program is itself part of the boot, and a unit that is ordered after
        # something later than it would otherwise wait for ever.
        if command := unit.get("command"):
            system.systemctl("--no-block", command, unit["name"])
            say(f"{command} {unit['name']}")


# --- where configs come from --------------------------------------------------------------------


def url_of_command_line(command_line: str) -> str:
    """The last cloud-config-url= on the kernel line, as the kernel's own rule is; "" if none."""
    urls = [word.split("=", 1)[1] for word in command_line.split() if word.startswith("cloud-config-url=")]
    return urls[-1] if urls else ""


def fetch(url: str, deadline: float = FETCH_DEADLINE) -> str:
    """GET with back-off. Every failure is retried, 404 too: the appliance may be a moment behind."""
    pause, give_up = 1.0, time.monotonic() + deadline
    while True:
        command = ["curl", "-fsS", "--location", "--connect-timeout", "10", "--max-time", "30", url]
        result = subprocess.run(command, check=False, capture_output=True)
        if result.returncode == 0:
            return result.stdout.decode()
        reason = result.stderr.decode(errors="replace").strip()
        if time.monotonic() + pause > give_up:
            raise ConfigError(f"gave up on {url}: {reason}")
        say(f"{reason}; again in {pause:.0f} s")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def obtain(options: argparse.Namespace) -> str:
    if options.from_file:
        return Path(options.from_file).read_text()
    url = options.from_url or url_of_command_line(Path("/proc/cmdline").read_text())
    if not url:
        raise ConfigError("no cloud-config-url= on the kernel line")
    say(f"fetching {url}")
    return fetch(url)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="coreos-cloudinit", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    # One dash is the spelling of the publisher's scripts, two that of its documentation.
    source.add_argument("-from-file", "--from-file", metavar="FILE")
    source.add_argument("-from-url", "--from-url", metavar="URL")
    source.add_argument("-from-proc-cmdline", "--from-proc-cmdline", action="store_true")
    parser.add_argument("-validate", "--validate", action="store_true", help="report, change nothing")
    parser.add_argument("--root", type=Path, default=Path("/"), help="apply below DIR", metavar="DIR")
    options = parser.parse_args(argv)
    try:
        text = obtain(options)
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        say(f"failed: {error}")
        return 1

    report = Report()
    config = read(text, report)
    for line in report.lines():
        print(line, flush=True)
    if options.validate:
        return 1 if report.findings else 0
    if report.has_error():
        say("failed: the config has errors; nothing was applied")
        return 1
    try:
        apply(config, System(options.root))
    except (ConfigError, OSError) as error:
        say(f"failed: {error}")
        return 1
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
