"""Network namespaces for tests: made by the test, torn down whatever happens."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


def sh(*argv: str, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program; its output belongs to the error when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


@dataclass
class Wire:
    """A bridge in a server namespace, with client namespaces plugged into it.

    The server's address is on ``br0``. ``exec(ns)`` is the argv prefix that runs a program inside.
    """

    server: str
    address: str
    clients: dict[str, str] = field(default_factory=dict)
    """Client name → namespace."""

    @staticmethod
    def exec(namespace: str) -> list[str]:
        return ["ip", "netns", "exec", namespace]

    def plug(self, name: str, mac: str, address: str | None = None, bridge: str = "br0") -> str:
        """Add a client namespace with one NIC ``eth0`` of this MAC; returns the namespace."""
        namespace = f"{self.server}-{name}"
        port = f"v{secrets.token_hex(4)}"
        sh("ip", "netns", "add", namespace)
        self.clients[name] = namespace
        sh("ip", "-n", self.server, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        sh("ip", "-n", self.server, "link", "set", port, "master", bridge, "up")
        sh("ip", "-n", namespace, "link", "set", "lo", "up")
        sh("ip", "-n", namespace, "link", "set", "eth0", "address", mac, "up")
        if address:
            sh("ip", "-n", namespace, "addr", "add", address, "dev", "eth0")
        return namespace


@contextmanager
def wire(address: str = "10.98.0.1/24") -> Iterator[Wire]:
    """A wire with the server's end up; everything on it is gone afterwards."""
    made = Wire(server=f"pt{os.getpid()}-{secrets.token_hex(3)}", address=address.split("/", maxsplit=1)[0])
    try:
        sh("ip", "netns", "add", made.server)
        sh("ip", "-n", made.server, "link", "set", "lo", "up")
        # Without an address of its own a bridge takes its lowest port's: each plug could change it, and what the
        # clients have in their ARP tables would lead nowhere.
        sh("ip", "-n", made.server, "link", "add", "br0", "address", "02:00:0a:62:00:01", "type", "bridge")
        sh("ip", "-n", made.server, "link", "set", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        sh("ip", "-n", made.server, "addr", "add", address, "dev", "br0")
        sh("ip", "-n", made.server, "link", "set", "br0", "up")
        yield made
    finally:
        for namespace in [*made.clients.values(), made.server]:
            for pid in sh("ip", "netns", "pids", namespace, check=False).stdout.split():
                sh("kill", "-9", pid, check=False)
            sh("ip", "netns", "del", namespace, check=False)
