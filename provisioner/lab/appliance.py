"""The appliance under test: a real ``provisioner serve`` in its namespace, driven by its command line."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from provisioner.domain.errors import Refused
from provisioner.lab.network import INTERFACE, Network
from provisioner.lab.programs import inside

_READY_SECONDS = 90.0
_STOP_SECONDS = 20.0
_COMMAND_SECONDS = 180.0
_PORTS = {"udp": (67, 69), "tcp": (80, 8081)}
"""What a serving appliance listens on, besides the page."""
_PAGE_PORT = 8080


class Appliance:
    """One appliance with a data directory of its own. It knows nothing of the rack but what it is told."""

    def __init__(self, network: Network, directory: Path, tree: Mapping[str, Path]) -> None:
        """``tree``: the settings ``cloud_configs`` and ``netboot_assets``, where they are not the defaults."""
        self._network = network
        self._directory = directory
        self._tree = tree
        self._process: subprocess.Popen[bytes] | None = None
        self.page = ""
        """URL of the page, in the host's namespace."""
        self.login_link = ""
        """Valid once; empty when the appliance printed none."""

    @property
    def data_dir(self) -> Path:
        return self._directory / "data"

    @property
    def log(self) -> Path:
        return self._directory / "serve.log"

    @property
    def _config(self) -> Path:
        return self._directory / "provisioner.toml"

    def start(self) -> None:
        """Start serving and wait until every port is open. Raises Refused with the last words of the log."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # The page is for a person on this host, the rest for the wire: the socket is opened here and handed in.
        with _page_socket() as page:
            port = page.getsockname()[1]
            self.page = f"http://127.0.0.1:{port}"
            self._config.write_text(
                configuration(
                    {
                        "data_dir": self.data_dir,
                        "interface": INTERFACE,
                        "address": self._network.address,
                        "people.listen": f"fd:{page.fileno()}",
                        **self._tree,
                    }
                )
            )
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._argv("serve"),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    pass_fds=(page.fileno(),),
                    start_new_session=True,
                )
        until = time.monotonic() + _READY_SECONDS
        while not self._open_ports():
            if self._process.poll() is not None or time.monotonic() > until:
                why = "ended" if self._process.poll() is not None else f"is not ready after {_READY_SECONDS:g} s"
                self.stop()
                raise Refused(f"the appliance {why}: {self.last_words()}", f"look into {self.log}")
            time.sleep(0.2)
        self.login_link = _login_link(self.log.read_text(errors="replace"))

    def last_words(self) -> str:
        """The end of its log, on one line."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return " / ".join(lines[-3:]) or "no word"
        return "no log"

    @property
    def serving(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it as an operator would, and if it does not end, by force. Safe to call twice."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def command(self, *words: str, data: str | None = None) -> str:
        """Run a ``provisioner`` command inside and return its output. Raises Refused with its stderr."""
        try:
            done = subprocess.run(
                self._argv(*words),
                input=data,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"`provisioner {' '.join(words)}` did not end in {_COMMAND_SECONDS:g} s") from None
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
            raise Refused(f"`provisioner {' '.join(words)}`: {said.removeprefix('provisioner: ')}")
        return done.stdout

    def ask(self, *words: str, data: str | None = None) -> Any:
        """As ``command`` with ``--json``; returns what it printed, parsed."""
        printed = self.command(*words, "--json", data=data)
        try:
            return json.loads(printed)
        except ValueError:
            raise Refused(f"`provisioner {' '.join(words)} --json` printed no JSON: {printed[:200]!r}") from None

    def _argv(self, *words: str) -> list[str]:
        program = [sys.executable, "-P", "-m", "provisioner", "--config", str(self._config), *words]
        return inside(self._network.appliance, program)

    def _open_ports(self) -> bool:
        assert self._process is not None  # noqa: S101 - start() made it
        tables = Path(f"/proc/{self._process.pid}/net")
        with suppress(OSError):
            return all(
                all(f":{port:04X} " in (tables / protocol).read_text() for port in ports)
                for protocol, ports in _PORTS.items()
            )
        return False


def _environment() -> dict[str, str]:
    """Ours without its settings, which would win over the lab's file: a lab never touches another inventory."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PROVISIONER_")}


def configuration(values: Mapping[str, object]) -> str:
    """Settings as TOML; ``a.b`` goes into section ``a``."""
    top = [f"{key} = {json.dumps(str(value))}\n" for key, value in values.items() if "." not in key]
    sections = [
        f"[{section}]\n{key} = {json.dumps(str(value))}\n"
        for (section, _, key), value in ((name.partition("."), value) for name, value in values.items())
        if key
    ]
    return "".join([*top, *sections])


def _page_socket() -> socket.socket:
    """A listening socket on 127.0.0.1:8080, or on a free port if that is taken."""
    for port in (_PAGE_PORT, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        return listener
    raise Refused("no port on 127.0.0.1 can be opened for the page", "look at what listens there")


def _login_link(printed: str) -> str:
    """The path of the one-time link that ``serve`` prints at its first start."""
    for line in printed.splitlines():
        if line.startswith("first login"):
            return line.split()[-1]
    return ""
