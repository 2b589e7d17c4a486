"""``provisioner lab``: a rack without a rack."""

from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.domain.errors import NotFound
from provisioner.lab import record
from provisioner.lab.run import LabOptions
from provisioner.lab.run import main as run_lab

app = typer.Typer(no_args_is_help=True)
Machines = Annotated[int, typer.Option(min=1, help="How many machines.")]
Firmware = Annotated[str, typer.Option(help="bios, uefi, uefi-http, uefi-secure, mixed or all.")]
Role = Annotated[str, typer.Option(help="Role to install; several with commas, for the machines in turn.")]


@app.command(epilog="Example: `provisioner lab run --machines 3 --firmware mixed --role worker`")
def run(
    machines: Machines = 2,
    firmware: Firmware = "mixed",
    role: Role = "simple",
    keep: Annotated[bool, typer.Option(help="Keep serving at the end, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds; 0: by the number of machines.")] = 0,
    drop_callbacks: Annotated[bool, typer.Option(help="Lose every callback: shows that nothing loops.")] = False,
    wrong_mac: Annotated[bool, typer.Option(help="The first machine's FRU lies about its MAC.")] = False,
    power_cycle: Annotated[bool, typer.Option(help="At the end, once more: each must find its disk.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Keep logs and database here.")] = None,
    cloud_configs: Annotated[
        Path | None, typer.Option(help="Folder of roles to try, instead of the shipped.")
    ] = None,
    payload: Annotated[
        Path | None, typer.Option(help="Folder of files that the roles install, added as payload.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="NAME=DIR: a further image, for roles that boot it; repeatable.")
    ] = None,
) -> None:
    """Build a rack, let it install itself, judge it, take it down. Exit 0 only if every machine arrived."""
    options = LabOptions(
        machines=machines,
        firmware=firmware,
        role=role,
        keep=keep,
        json=json,
        timeout=timeout,
        drop_callbacks=drop_callbacks,
        wrong_mac=wrong_mac,
        power_cycle=power_cycle,
        directory=directory,
        cloud_configs=cloud_configs,
        payload=payload,
        images=tuple(image or ()),
    )
    raise typer.Exit(run_lab(options))


@app.command(epilog="Example: `provisioner lab up --machines 2`")
def up(machines: Machines = 2, firmware: Firmware = "mixed") -> None:
    """Build rack and appliance, powered off, BMCs listed; serve until Ctrl-C or `lab down`."""
    raise typer.Exit(run_lab(LabOptions(machines=machines, firmware=firmware, install=False)))


@app.command(epilog="Example: `provisioner lab down`")
def down(name: Annotated[str, typer.Argument(metavar="[LAB]", help="Default: all of them.")] = "") -> None:
    """End labs and remove everything they left: processes, namespaces, directories."""
    wanted = [lab for lab in record.labs() if name in ("", lab.name)]
    if name and not wanted:
        raise NotFound("lab", name, "`provisioner lab status` shows what there is")
    for lab in wanted:
        record.end(lab)
        session.say(f"{lab.name} is down")


@app.command(epilog="Example: `provisioner lab status`")
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the labs on this host."""
    rows = [
        {
            "name": lab.name,
            "state": "running" if lab.alive else "left over; `provisioner lab down` removes it",
            "page": lab.page,
            "directory": lab.directory,
        }
        for lab in record.labs()
    ]
    if json:
        session.show_json(rows)
    else:
        session.show_table(("name", "state", "page", "directory"), rows, "no lab; `provisioner lab run` starts one")
