"""``provisioner image``: what machines boot and install."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from provisioner.actions import images
from provisioner.cli import session
from provisioner.domain.errors import Refused

app = typer.Typer(help="Netboot images: import, fetch, list, verify, remove.", no_args_is_help=True)


@app.command("import", epilog="Example: `provisioner image import ./3510.2.8 --name flatcar`")
def import_image(
    directory: Annotated[
        Path, typer.Argument(readable=False, help="Folder with the publisher's files, names unchanged.")
    ],
    name: Annotated[str, typer.Option(help="Image name that roles refer to, like flatcar.")],
    version: Annotated[str, typer.Option(help="Default: from version.txt.")] = "",
) -> None:
    """Take a release into the appliance: hashed, checked against its digests, published in one step."""
    with session.house() as house:
        image = house.images.import_dir(directory, name, version or None)
    state = "complete" if image.complete else "; ".join(image.problems)
    session.say(f"{image.name} {image.version}: {len(image.files)} files, {image.size / 1e6:.0f} MB, {state}")


@app.command(epilog="Example: `provisioner image fetch flatcar --channel stable --keyring flatcar.asc`")
def fetch(
    publisher: Annotated[str, typer.Argument(help="flatcar or fedora-coreos.")],
    stream: Annotated[str, typer.Option("--channel", "--stream", help="stable, beta, testing, …")] = "stable",
    version: Annotated[str, typer.Option(help="Default: the newest.")] = "",
    name: Annotated[str, typer.Option(help="Image name that roles refer to; default: the publisher.")] = "",
    arch: Annotated[str, typer.Option(help="amd64 or arm64.")] = "amd64",
    keyring: Annotated[
        Path | None, typer.Option(readable=False, help="The publisher's public key; default: the setting.")
    ] = None,
) -> None:
    """Fetch a release from its publisher. Listed only when signatures and digests are good; resumes."""
    with session.house() as house, _bar() as progress:
        image = house.library.fetcher.fetch(
            publisher, stream=stream, version=version, name=name, arch=arch, keyring=keyring, progress=progress
        )
    session.say(f"{image.name} {image.version}: {len(image.files)} files, {image.size / 1e6:.0f} MB, signed")


@app.command("list", epilog="Example: `provisioner image list --json`")
def list_images(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List images with their files, when they were verified, and who uses them."""
    with session.house() as house:
        listed = images.listed(house.images.list(), house.store.inventory(), house.role_images())
    if json:
        session.show_json(
            [
                {
                    "name": image.name,
                    "version": image.version,
                    "size": image.size,
                    "problems": image.problems,
                    "verified_at": session.moment(image.verified_at),
                    "used_by": users,
                    "files": [
                        {
                            "name": file.name,
                            "size": file.size,
                            "sha256": file.sha256,
                            "url": f"/images/{image.name}/{image.version}/{file.name}",
                        }
                        for file in image.files
                    ],
                }
                for image, users in listed
            ]
        )
        return
    rows = [
        {
            "name": image.name,
            "version": image.version,
            "files": len(image.files),
            "size": f"{image.size / 1e6:.0f} MB",
            "state": "; ".join(image.problems) or "complete",
            "verified": session.moment(image.verified_at),
            "used_by": ", ".join(users),
        }
        for image, users in listed
    ]
    session.show_table(
        ("name", "version", "files", "size", "state", "verified", "used_by"),
        rows,
        "no images; `provisioner image import DIR --name flatcar`",
    )


@app.command(epilog="Example: `provisioner image verify flatcar`")
def verify(
    name: Annotated[str, typer.Argument(help="Image name.")],
    version: Annotated[str, typer.Argument(help="Default: the newest.")] = "",
) -> None:
    """Read every byte again and compare with the hashes taken at import."""
    with session.house() as house, _bar() as progress:
        problems = house.images.verify(name, version or None, progress)
    if problems:
        raise Refused(f"image {name}: {'; '.join(problems)}", "import it again")
    session.say(f"{name}: every file is as it was imported")


@app.command(epilog="Example: `provisioner image remove flatcar 3510.2.8`")
def remove(
    name: Annotated[str, typer.Argument(help="Image name.")],
    version: Annotated[str, typer.Argument(help="Version.")],
    force: Annotated[bool, typer.Option(help="Although a role uses it; never while an install does.")] = False,
) -> None:
    """Remove a version; refused while a role or an open install uses it."""
    with session.house() as house:
        images.remove(
            house.store,
            house.library,
            house.role_images(),
            name,
            version,
            actor=session.actor(),
            now=session.now(),
            force=force,
        )
    session.say(f"{name} {version} removed")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr; nothing in logs and pipes."""
    columns = (TextColumn("{task.percentage:3.0f} %"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
