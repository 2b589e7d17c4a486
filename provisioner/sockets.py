"""Where the services listen: the addresses of the wires, and the sockets that settings name."""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address

from provisioner.domain.errors import Refused
from provisioner.settings import InterfaceSettings, Settings
from provisioner.web.neighbours import address_on

MACHINES_PORT = 80
IMAGES_PORT = 8081


def address_of(wire: InterfaceSettings) -> IPv4Address:
    """Our address on a wire: the configured one, else the interface's first IPv4 address."""
    if wire.name not in {name for _, name in socket.if_nameindex()}:
        known = ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
        raise Refused(f"interface {wire.name!r} does not exist", f"interfaces here: {known}")
    found = wire.address or address_on(wire.name)
    if found is None:
        raise Refused(
            f"interface {wire.name} has no IPv4 address", f"`ip addr add 10.12.1.2/24 dev {wire.name}` first"
        )
    return found


def inherited_sockets(settings: Settings) -> Sequence[int]:
    """Descriptors that the web service must inherit (``people.listen`` or ``machines.listen = "fd:N"``)."""
    listens = (settings.people.listen, settings.machines.listen)
    return tuple(int(listen.removeprefix("fd:")) for listen in listens if listen.startswith("fd:"))


def page_url(settings: Settings) -> str:
    """Where a person finds the page."""
    listen = settings.people.listen
    if listen.startswith("fd:"):
        with socket.socket(fileno=int(listen.removeprefix("fd:"))) as sock:
            host, port = sock.getsockname()[:2]
            sock.detach()
    else:
        host, port = host_port(listen, "0.0.0.0", 8080)  # noqa: S104
    if ip_address(host).is_unspecified:
        host = str(address_of(settings.wires[0])) if settings.wires else "127.0.0.1"
    return f"http://{host}:{port}"


def people_socket(settings: Settings) -> socket.socket:
    listen = settings.people.listen
    if listen.startswith("fd:"):
        return _inherited(listen, "people.listen")
    return _listening(*host_port(listen, "0.0.0.0", 8080), "people.listen")  # noqa: S104


def machine_sockets(settings: Settings) -> list[socket.socket]:
    """One on each wire's own address, so that the address a machine reached is known. An inherited one may be
    bound to all addresses: see ``served_addresses``."""
    if settings.machines.listen.startswith("fd:"):
        return [_inherited(settings.machines.listen, "machines.listen")]
    if settings.machines.listen:
        host, port = host_port(settings.machines.listen, str(address_of(settings.wires[0])), MACHINES_PORT)
        return [_listening(host, port, "machines.listen")]
    return [_listening(str(address_of(wire)), MACHINES_PORT, "machines.listen") for wire in settings.wires]


def served_addresses(settings: Settings) -> frozenset[str] | None:
    """Where machines may reach us: the wires' addresses when an inherited socket knows no limit, else None."""
    if not settings.machines.listen.startswith("fd:"):
        return None
    return frozenset(str(address_of(wire)) for wire in settings.wires)


def host_port(listen: str, host: str, port: int) -> tuple[str, int]:
    """What a listen setting says, like ``0.0.0.0:8080``; `host` and `port` where it is silent."""
    if not listen:
        return host, port
    before, colon, after = listen.rpartition(":")
    if not after.isdigit():
        raise Refused(f"listen {listen!r} has no port", "write it like 0.0.0.0:8080")
    return (before.strip("[]") or host) if colon else host, int(after)


def _inherited(listen: str, setting: str) -> socket.socket:
    number = listen.removeprefix("fd:")
    try:
        sock = socket.socket(fileno=int(number))
        listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (OSError, ValueError) as error:
        raise _not_inherited(setting, listen) from error
    if not listens:
        raise _not_inherited(setting, listen)
    return sock


def _not_inherited(setting: str, listen: str) -> Refused:
    return Refused(
        f"{setting} {listen!r} is no listening socket",
        "it is opened by who starts this program: `systemctl start provisioner-web.socket`; or write HOST:PORT",
    )


def _listening(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise Refused(
            f"{setting} {host}:{port} cannot be listened on ({error.strerror})",
            f"see who has it: `ss -ltnp sport = :{port}`, or set {setting} to another port",
        ) from error
    sock.listen(1024)
    return sock
