"""``provisioner role``: what machines become, tried before anybody arms one."""

import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated

import typer

from provisioner.boot.payload import PayloadEntry
from provisioner.boot.render import Renderer
from provisioner.boot.role_file import PayloadFile
from provisioner.boot.trial import try_role
from provisioner.cli import revisions, session
from provisioner.domain.errors import NotFound, Refused

app = typer.Typer(no_args_is_help=True)
app.command(epilog="Example: `provisioner role diff worker`")(revisions.diff)
app.command(epilog="Example: `provisioner role activate worker --plan 0f3a…`")(revisions.activate)
app.command(epilog="Example: `provisioner role revisions worker`")(revisions.revisions)
app.command(epilog="Example: `provisioner role compare worker 1 2`")(revisions.compare)
app.command(epilog="Example: `provisioner role follow worker`")(revisions.follow)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PARTS = {
    "config": ("config.yml", "ignition.json", "preseed.cfg", "user-data", "talos.yaml"),
    "pxe": ("pxe.yml", "pxe.ign"),
    "install": ("install.sh",),
    "script": ("boot.ipxe",),
    "network": ("network",),
    "ignition": ("ignition.json",),
}
"""What people call a part → its file, by the role's format."""


@app.command("list", epilog="Example: `provisioner role list`")
def list_roles(json: Json = False) -> None:
    """List roles and how far each is proven."""
    with session.house() as house:
        roles = [house.roles.get(name) for name in house.roles.names()]
    rows = [
        {
            "name": role.name,
            "description": role.settings.description,
            "image": role.settings.image,
            "format": role.settings.format,
            "proof": role.settings.proof,
            "revision": role.revision,
        }
        for role in roles
    ]
    if json:
        session.show_json(rows)
    else:
        columns = ("name", "image", "format", "proof", "description")
        session.show_table(columns, rows, "no roles; a role is a folder with a role.yaml in cloud_configs")


@app.command(epilog="Example: `provisioner role show worker`")
def show(name: Annotated[str, typer.Argument(help="Role.")], json: Json = False) -> None:
    """Show a role: its settings, parameters and files, and what is missing to use it."""
    with session.house() as house:
        role = house.roles.get(name)
        try:
            image = house.images.get(role.settings.image, role.settings.image_version or None)
            there = f"{image.version}: {'; '.join(image.problems) or 'complete'}"
        except NotFound:
            there = f"missing; `provisioner image import DIR --name {role.settings.image}`"
        payload = [_payload_state(file, house.payload.manifest()) for file in role.settings.payload]
        activated = house.effective_roles.activated(name)
    settings = role.settings.model_dump(mode="json")
    if json:
        session.show_json(
            {
                "name": name,
                "revision": role.revision,
                "activated": activated,
                **settings,
                "image_state": there,
                "payload_state": payload,
                "templates": sorted(role.files),
            }
        )
        return
    session.say(f"{name}: {role.settings.description}")
    in_force = "in force" if activated in ("", role.revision) else f"a draft; {activated[:12]} is in force"
    session.say(f"revision    {role.revision} ({in_force})")
    session.say(f"image       {role.settings.image} ({there})")
    for key in ("format", "kernel_arguments", "install_disk", "wipe", "arm", "on_failure", "max_attempts", "proof"):
        session.say(f"{key:12}{settings[key]}")
    for file in payload:
        session.say(f"payload     {file['path']} -> {file['dest']} ({file['state']})")
    rows = [{"parameter": key, **value} for key, value in settings["parameters"].items()]
    session.show_table(("parameter", "type", "default", "required", "description"), rows, "no parameters")


def _payload_state(file: PayloadFile, there: Mapping[str, PayloadEntry]) -> dict[str, str]:
    """Is it there, and is it the one that the role names? Else the command that gets it."""
    entry, command = there.get(file.path), f"`provisioner payload add FILE --path {file.path}`"
    if entry is None:
        state = f"left out, not there; {command}" if file.optional else f"missing; {command}"
    elif file.sha256 and entry.sha256 != file.sha256:
        state = f"another file: sha256 {entry.sha256[:12]}…, the role says {file.sha256[:12]}…; {command}"
    else:
        state = "there"
    return {"path": file.path, "dest": file.dest, "state": state}


@app.command(epilog="Example: `provisioner role validate`")
def validate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[ROLE...]", help="Default: all.")] = None,
) -> None:
    """Compile each role for an example machine and check every byte; faults name file, line and key."""
    faulty = False
    with session.house() as house, closing(Renderer()) as renderer:
        for name in names or house.roles.names():
            try:
                _, warnings = try_role(house.roles, name, house.images.get, house.payload.manifest, renderer)
            except Refused as refusal:
                faulty = True
                session.warn(f"{name}: {refusal}")
                continue
            session.say(f"{name}: valid")
            for warning in warnings:
                session.warn(f"{name}: {warning}")
    if faulty:
        raise typer.Exit(1)


@app.command(epilog="Example: `provisioner role render node-01 --part install`")
def render(
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Name, id, MAC or address.")],
    part: Annotated[
        str, typer.Option(help="config, pxe, install, script, network, ignition, or a file of the role.")
    ] = "config",
) -> None:
    """Print what this machine would be told if it were armed now. Changes nothing."""
    with session.house() as house:
        inventory = house.store.inventory()
        found = inventory.find(machine)
        if found is None:
            raise NotFound("machine", machine)
        compiled = house.compiler.compile(found, inventory)
    file = next((name for name in PARTS.get(part, (part,)) if name in compiled.files), None)
    if file is None:
        raise Refused(f"role {compiled.role} has no part {part}", f"it has {', '.join(sorted(compiled.files))}")
    sys.stdout.write(compiled.files[file].decode())
