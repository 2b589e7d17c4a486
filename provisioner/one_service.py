"""Runs one of the four services in this process.

Each is imported when it is the one: with the page's frameworks in it the packets process would be a third larger.
"""

import threading

from provisioner.domain.errors import Refused
from provisioner.logs import configure_logging
from provisioner.settings import Settings
from provisioner.sockets import address_of
from provisioner.stopping import stop_on_signals
from provisioner.supervise import SERVICES


def run(name: str, settings: Settings) -> None:
    """Run one service until SIGTERM or SIGINT. Raises Refused."""
    if name not in SERVICES:
        raise Refused(f"service {name!r} is not known", f"choose one of {', '.join(SERVICES)}")
    configure_logging(settings, name)
    stop = threading.Event()
    stop_on_signals(stop.set)
    if name == "packets":
        from provisioner import packets  # noqa: PLC0415 - see above

        packets.packets(settings, stop)
        return
    from provisioner import services  # noqa: PLC0415

    {"web": services.web, "images": services.images, "bmc": services.bmc}[name](settings, stop)


def check(settings: Settings) -> None:
    """Refuse now, in one sentence, what every service would stumble over."""
    if not settings.wires:
        raise Refused("no interface is configured", "name the wire: `provisioner serve --interface eth1`")
    for wire in settings.wires:
        address_of(wire)
