"""``provisioner container``: what machines pull from the appliance's registry, on the images port."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.images.archives import import_archive
from provisioner.images.containers import parse_name

app = typer.Typer(no_args_is_help=True)


@app.command("import", epilog="Example: `provisioner container import pause.tar`")
def import_archives(
    files: Annotated[list[Path], typer.Argument(readable=False, help="Tars by `docker save`, or OCI archives.")],
    name: Annotated[str, typer.Option(help="For one image: its name, like registry.k8s.io/pause:3.9.")] = "",
) -> None:
    """Take container images in; machines pull them at http://APPLIANCE:8081/v2/."""
    with session.house() as house:
        for file in files:
            for container in import_archive(house.containers, file, name):
                session.say(f"{container.name}:{container.tag}: {container.size / 1e6:.1f} MB, {container.digest}")


@app.command("list", epilog="Example: `provisioner container list --json`")
def list_containers(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List container images by name and tag."""
    with session.house() as house:
        rows = [
            {"name": each.name, "tag": each.tag, "size": each.size, "digest": each.digest}
            for each in house.containers.list()
        ]
    if json:
        session.show_json(rows)
        return
    session.show_table(
        ("name", "tag", "size", "digest"),
        ({**row, "size": f"{int(str(row['size'])) / 1e6:.1f} MB"} for row in rows),
        "no container images; `provisioner container import FILE.tar`",
    )


@app.command(epilog="Example: `provisioner container remove registry.k8s.io/pause:3.9`")
def remove(reference: Annotated[str, typer.Argument(help="Name and tag.")]) -> None:
    """Remove a tag, and what no other tag shares with it."""
    name, tag = parse_name(reference)
    with session.house() as house:
        house.containers.remove(name, tag)
    session.say(f"{name}:{tag} removed")
