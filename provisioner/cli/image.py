"""``provisioner image``: what machines boot and install."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.domain.errors import Refused

app = typer.Typer(help="Netboot images: import, list, verify, remove.", no_args_is_help=True)


@app.command("import", epilog="Example: `provisioner image import ./3510.2.8 --name flatcar`")
def import_image(
    directory: Annotated[Path, typer.Argument(help="Folder with the publisher's files, names unchanged.")],
    name: Annotated[str, typer.Option(help="Image name that roles refer to, like flatcar.")],
    version: Annotated[str, typer.Option(help="Default: from version.txt.")] = "",
) -> None:
    """Take a release into the appliance: hashed, checked against its digests, published in one step."""
    with session.house() as house:
        image = house.images.import_dir(directory, name, version or None)
    state = "complete" if image.complete else "; ".join(image.problems)
    session.say(f"{image.name} {image.version}: {len(image.files)} files, {image.size / 1e6:.0f} MB, {state}")


@app.command("list", epilog="Example: `provisioner image list --json`")
def list_images(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List images with their files."""
    with session.house() as house:
        images = house.images.list()
    if json:
        session.show_json(
            [
                {
                    "name": image.name,
                    "version": image.version,
                    "size": image.size,
                    "problems": image.problems,
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
                for image in images
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
        }
        for image in images
    ]
    session.show_table(
        ("name", "version", "files", "size", "state"),
        rows,
        "no images; `provisioner image import DIR --name flatcar`",
    )


@app.command(epilog="Example: `provisioner image verify flatcar`")
def verify(
    name: Annotated[str, typer.Argument(help="Image name.")],
    version: Annotated[str, typer.Argument(help="Default: the newest.")] = "",
) -> None:
    """Read every byte again and compare with the hashes taken at import."""
    with session.house() as house:
        problems = house.images.verify(name, version or None)
    if problems:
        raise Refused(f"image {name}: {'; '.join(problems)}", "import it again")
    session.say(f"{name}: every file is as it was imported")


@app.command(epilog="Example: `provisioner image remove flatcar 3510.2.8`")
def remove(
    name: Annotated[str, typer.Argument(help="Image name.")],
    version: Annotated[str, typer.Argument(help="Version.")],
) -> None:
    """Remove a version; refused while an armed or installing machine was told to use it."""
    needle = f"/images/{name}/{version}/".encode()
    with session.house() as house:
        for machine in house.store.inventory().machines.values():
            install = machine.install
            if install and install.open and any(needle in data for data in install.files.values()):
                raise Refused(
                    f"image {name} {version} is used by the install of {machine.name}",
                    "disarm it, or wait for its end",
                )
        house.images.remove(name, version)
    session.say(f"{name} {version} removed")
