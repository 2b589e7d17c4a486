"""``provisioner machine boot`` and ``machine media``: what machines start from, as their BMCs are told."""

from typing import Annotated

import typer

from provisioner.actions import boot_from
from provisioner.cli import job as jobs
from provisioner.cli import session

EXAMPLE = "Example: `provisioner machine boot cd node-01`"
media = typer.Typer(help="Images in the virtual drives that Redfish BMCs lend their servers.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Machines = Annotated[list[str], typer.Argument(metavar="MACHINE...", help="Names, ids, MACs or addresses.")]


def boot(
    device: Annotated[str, typer.Argument(help="network, disk, cd, setup or default.")],
    machines: Machines,
    always: Annotated[bool, typer.Option("--always", help="From now on; without it once.")] = False,
    json: Json = False,
) -> None:
    """Have the BMCs start machines from a device. Switches no power."""
    with session.house() as house:
        job = boot_from.enqueue_boot(
            house.store, machines, device, actor=session.actor(), now=session.now(), always=always
        )
        jobs.finish(house, job, json)


@media.command(epilog="Example: `provisioner machine media insert rescue.iso node-01 --boot`")
def insert(
    image: Annotated[str, typer.Argument(help="A URL that the BMC reaches, or the path of a payload file.")],
    machines: Machines,
    boot: Annotated[bool, typer.Option("--boot", help="The next start is from it.")] = False,
    json: Json = False,
) -> None:
    """Put an image into a virtual drive; what lies there is taken out first. Switches no power."""
    _done(machines, image, json, boot=boot)


@media.command(epilog="Example: `provisioner machine media eject node-01`")
def eject(machines: Machines, json: Json = False) -> None:
    """Take out whatever lies in the virtual drives."""
    _done(machines, "", json)


@media.command("list", epilog="Example: `provisioner machine media list node-01`")
def list_media(machines: Machines, json: Json = False) -> None:
    """The virtual drives, and what lies in them."""
    _done(machines, None, json)


def _done(machines: list[str], image: str | None, json: bool, boot: bool = False) -> None:
    with session.house() as house:
        job = boot_from.enqueue_media(
            house.store,
            machines,
            image,
            house.payload.manifest().keys(),
            actor=session.actor(),
            now=session.now(),
            boot=boot,
        )
        jobs.finish(house, job, json)
