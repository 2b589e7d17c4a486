"""``provisioner payload``: files that installs fetch besides the image, with their digests."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.domain.errors import Refused

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: `provisioner payload add kubelet --path k8s/1.29.3/kubelet`")
def add(
    file: Annotated[Path, typer.Argument(readable=False, help="The file.")],
    path: Annotated[str, typer.Option(help="Its path below /payload/; default: its name.")] = "",
) -> None:
    """Take a file in, and print the entry for role.yaml; install.sh checks the sha256 on the machine."""
    with session.house() as house:
        entry = house.payload.add(file, path)
    session.say(f"payload:\n  - path: {entry.path}\n    sha256: {entry.sha256}\n    dest: /opt/bin/{file.name}")


@app.command("list", epilog="Example: `provisioner payload list --json`")
def list_payload(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the files with size and sha256."""
    with session.house() as house:
        rows = [asdict(entry) for entry in house.payload.manifest().values()]
    if json:
        session.show_json(rows)
        return
    session.show_table(("path", "size", "sha256"), rows, "no payload; `provisioner payload add FILE`")


@app.command(epilog="Example: `provisioner payload verify`")
def verify() -> None:
    """Read every byte again and compare with the digests taken when it was added."""
    with session.house() as house:
        problems = house.payload.verify()
    if problems:
        raise Refused("; ".join(problems), "add such files again")
    session.say("every payload file is as it was added")


@app.command(epilog="Example: `provisioner payload remove k8s/1.29.3/kubelet`")
def remove(path: Annotated[str, typer.Argument(help="Path below /payload/.")]) -> None:
    """Remove a file; refused while a role names it."""
    with session.house() as house:
        users = house.payload_users(path)
        if users:
            raise Refused(f"payload {path} is named by role {', '.join(users)}", "take it out of role.yaml first")
        house.payload.remove(path)
    session.say(f"{path} removed")
