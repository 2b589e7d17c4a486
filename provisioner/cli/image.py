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
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.bundle import fingerprint, is_bundle
from provisioner.images.shipping import Wanted
from provisioner.images.store import Image
from provisioner.wiring import House

app = typer.Typer(no_args_is_help=True)


@app.command("import", epilog="Example: `provisioner image import ./3510.2.8 --name flatcar`")
def import_image(
    source: Annotated[
        list[Path],
        typer.Argument(
            readable=False, help="Folder or files as published, names unchanged; or a bundle of `image export`."
        ),
    ],
    name: Annotated[
        str, typer.Option(help="Image name that roles refer to, like flatcar; a bundle has its own.")
    ] = "",
    version: Annotated[str, typer.Option(help="Default: from version.txt.")] = "",
    trust: Annotated[
        list[str] | None, typer.Option(help="Fingerprint of the appliance that made the bundle, as it printed it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take a release into the appliance: hashed, checked against its digests, published in one step.

    A bundle is taken in whole or not at all, if its signature is one to trust and every byte is as signed.
    """
    with session.house() as house:
        if len(source) == 1 and is_bundle(source[0]):
            _import_bundle(house, source[0], trust or [], json)
            return
        if not name:
            raise InvalidValue("name", "", "is missing", "say what roles call the image: --name flatcar")
        if len(source) == 1 and source[0].is_dir():
            image = house.images.import_dir(source[0], name, version or None)
        else:
            image = house.images.import_files(source, name, version or None)
    if json:
        session.show_json(_made(image))
        return
    state = "complete" if image.complete else "; ".join(image.problems)
    session.say(f"{image.name} {image.version}: {len(image.files)} files, {image.size / 1e6:.0f} MB, {state}")


def _import_bundle(house: House, file: Path, trust: list[str], json: bool) -> None:
    with _bar() as progress:
        taken = house.warehouse.take_in(file, (*house.trusted_bundles, *trust), progress)
    if json:
        session.show_json({"signer": taken.signer, "added": taken.added, "known": taken.known})
        return
    for what in taken.added:
        session.say(f"{what} added")
    for what in taken.known:
        session.say(f"{what} was here already")
    session.say(f"signed by {taken.signer}")


@app.command(
    epilog="Example: `provisioner image export rack.bundle --role worker --container registry.k8s.io/pause:3.9`"
)
def export(
    file: Annotated[Path, typer.Argument(help="The bundle to write.")],
    image: Annotated[list[str] | None, typer.Option(help="NAME or NAME/VERSION; default: the newest.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role's folder, with its image and payload.")] = None,
    payload: Annotated[list[str] | None, typer.Option(help="A payload path.")] = None,
    container: Annotated[
        list[str] | None, typer.Option(help="A container image, like registry.k8s.io/pause:3.9.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write one signed file that carries all an appliance without internet needs; with no option, everything."""
    with session.house() as house, _bar() as progress:
        if image or role or payload or container:
            needs = house.role_needs(role or [])
            named = [(name, version) for name, _, version in (each.partition("/") for each in image or [])]
            wanted = Wanted(
                [*needs.images, *named], [*needs.payload, *(payload or [])], container or [], needs.roles
            )
        else:
            wanted = Wanted(
                [(each.name, each.version) for each in house.images.list()],
                list(house.payload.manifest()),
                [f"{each.name}:{each.tag}" for each in house.containers.list()],
                house.roles.names(),
            )
        contents = house.warehouse.pack(file, house.bundle_key, wanted, session.now(), progress)
        signer = fingerprint(house.bundle_key.public_key())
    if json:
        session.show_json(
            {"file": str(file), "files": len(contents.files), "size": contents.size, "signer": signer}
        )
        return
    session.say(f"{file}: {len(contents.files)} files, {contents.size / 1e6:.0f} MB")
    session.say(f"signed by {signer}")
    session.say(
        f"there: `provisioner image import {file.name} --trust {signer}`, once you compared the fingerprint"
    )


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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch a release from its publisher. Listed only when signatures and digests are good; resumes."""
    with session.house() as house, _bar() as progress:
        image = house.library.fetcher.fetch(
            publisher, stream=stream, version=version, name=name, arch=arch, keyring=keyring, progress=progress
        )
    if json:
        session.show_json(_made(image))
        return
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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every byte again and compare with the hashes taken at import."""
    with session.house() as house, _bar() as progress:
        version = house.images.get(name, version or None).version
        problems = house.images.verify(name, version, progress)
    if json:
        session.show_json({"name": name, "version": version, "problems": problems})
    if problems:
        raise Refused(f"image {name}: {'; '.join(problems)}", "import it again")
    if not json:
        session.say(f"{name}: every file is as it was imported")


@app.command(epilog="Example: `provisioner image remove flatcar 3510.2.8`")
def remove(
    name: Annotated[str, typer.Argument(help="Image name.")],
    version: Annotated[str, typer.Argument(help="Version.")],
    force: Annotated[bool, typer.Option(help="Although a role uses it; never while an install does.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    if json:
        session.show_json({"name": name, "version": version, "removed": True})
        return
    session.say(f"{name} {version} removed")


def _made(image: Image) -> dict[str, object]:
    return {
        "name": image.name,
        "version": image.version,
        "size": image.size,
        "files": len(image.files),
        "problems": image.problems,
    }


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr; nothing in logs and pipes."""
    columns = (TextColumn("{task.percentage:3.0f} %"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
