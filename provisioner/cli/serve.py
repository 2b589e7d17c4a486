"""``provisioner serve``: the appliance itself."""

from typing import Annotated

import typer

from provisioner import supervise
from provisioner.actions import accounts
from provisioner.cli import config_file, session
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.events import Event, Kind
from provisioner.readiness import tell_ready
from provisioner.settings import Settings
from provisioner.wiring import House, clock

EXAMPLE = "Example: `provisioner serve --interface eth1`"


def serve(
    interface: Annotated[str | None, typer.Option(help="Serve this wire; overrides the settings file.")] = None,
    only: Annotated[str | None, typer.Option(help="Run one service: packets, web, images or bmc.")] = None,
) -> None:
    """Serve DHCP, TFTP, the machines, the page and the images until stopped."""
    from provisioner import one_service  # noqa: PLC0415 - what only this command needs

    settings = session.settings(interface=interface)
    if only is not None:
        one_service.run(only, settings)
        return
    with House.open(settings, database_may_be_away=True) as house:
        one_service.check(settings)
        with supervise.alone(settings.data_dir):
            code = _supervised(house, settings, interface)
    raise typer.Exit(code)


def _supervised(house: House, settings: Settings, interface: str | None) -> int:
    from provisioner import sockets  # noqa: PLC0415 - as above

    try:
        link = accounts.first_login_link(house.store, clock())
    except StoreUnavailable as away:
        link = None
        session.warn(f"provisioner: {away}; serving from the snapshot on disk until it is back")

    def failed(service: str, how: str) -> None:
        message = f"service {service} {how}, and is started again; see the log"
        try:
            with house.store.transaction("appliance") as tx:
                tx.events.add(Event(Kind.SERVICE, message, clock(), actor="appliance"))
        except (StoreUnavailable, Refused) as error:
            session.warn(f"provisioner: {message} (not recorded: {error})")

    for wire in settings.wires:
        session.warn(f"serving {wire.name} ({sockets.address_of(wire)}), DHCP {wire.dhcp}")
    page = sockets.page_url(settings)
    session.warn(f"page: {page}")
    if link:
        session.warn(f"first login (valid once): {page}{link}")

    def ready() -> None:
        session.warn("ready: every service answers")
        tell_ready()

    inherited = sockets.inherited_sockets(settings)
    return supervise.run(config_file.named(), interface, inherited, failed, ready)
