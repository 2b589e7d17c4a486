"""``provisioner slot``: places in the rack, with or without a machine."""

from typing import Annotated, Any

import typer

from provisioner.actions import edits as saving
from provisioner.actions import slots
from provisioner.cli import edits, session
from provisioner.cli.stated import stated
from provisioner.domain.errors import Refused
from provisioner.domain.option_set import show_options
from provisioner.domain.place import Place

app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[str, typer.Argument(metavar="SLOT", help="Name or id.")]
TEXT = str | None
STATED = {
    "ip": Annotated[TEXT, typer.Option(help="Addresses, boot NIC first, several by ';'; '' removes.")],
    "role": Annotated[TEXT, typer.Option(help="Role; '' removes.")],
    "rack": Annotated[TEXT, typer.Option(help="Rack.")],
    "unit": Annotated[TEXT, typer.Option(help="Height unit.")],
    "chassis": Annotated[TEXT, typer.Option(help="Chassis.")],
    "blade": Annotated[TEXT, typer.Option(help="Place in the chassis.")],
    "cluster": Annotated[TEXT, typer.Option(help="Cluster; '' removes.")],
    "params": Annotated[TEXT, typer.Option(help="Role parameters, JSON, replaces all.")],
    "options": Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="A DHCP option, again for more; NAME= removes."),
    ],
    "switch_port": Annotated[
        TEXT,
        typer.Option(help="The switch port it is wired to, as relays name it, like 'sw3 17'; '' for none."),
    ],
    "menu": Annotated[
        TEXT, typer.Option(help="Roles to choose from at the console, by ';'; none: no menu; '': the subnet's.")
    ],
}
"""What may be stated of a place."""
COLUMNS = ("name", "machine", "ip", "role", "cluster", "rack", "unit", "chassis", "blade")


def as_dict(place: Place) -> dict[str, Any]:
    """A slot as the commands print it."""
    slot = place.slot
    return {
        "id": str(slot.id),
        "name": slot.name,
        "ip": ";".join(str(address.ip) for address in place.addresses),
        **{
            name: getattr(slot, name)
            for name in ("role", "rack", "unit", "chassis", "blade", "cluster", "switch_port", "menu")
        },
        "params": dict(slot.params),
        "options": show_options(slot.options),
        "implicit": slot.implicit,
        "machine_id": str(place.machine_id or ""),
        "version": slot.version,
    }


@app.command("list", epilog="Example: `provisioner slot list --empty`")
def list_slots(
    empty: Annotated[bool, typer.Option("--empty", help="Only those without a machine.")] = False,
    json: Json = False,
) -> None:
    """List places in the order in which people walk along racks."""
    with session.house() as house, house.store.reading() as tx:
        rows = [as_dict(place) for place in tx.slots.list() if not (empty and place.machine_id)]
    if json:
        session.show_json(rows)
    else:
        shown = [row | {"machine": "yes" if row["machine_id"] else "empty"} for row in rows]
        session.show_table(COLUMNS, shown, "no slots; `provisioner slot add node-17 --ip 10.12.1.17 --role simple`")


@app.command(epilog="Example: `provisioner slot show node-17`")
def show(slot: Ref, json: Json = False) -> None:
    """Show one place."""
    with session.house() as house, house.store.reading() as tx:
        row = as_dict(tx.slots.get(slot))
    if json:
        session.show_json(row)
        return
    for key, value in row.items():
        if value not in ("", None, {}):
            session.say(f"{key:10} {value}")


@app.command(epilog="Example: `provisioner slot add node-17 --ip 10.12.1.17 --role simple --rack r1 --unit 17`")
@stated(STATED)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Host name of whatever machine comes here.")],
    **fields: Any,
) -> None:
    """List a place before its machine. `machine add --name NAME` puts one in."""
    with session.house() as house:
        made = slots.add_slot(
            house.store,
            {"name": name, **fields},
            actor=session.actor(),
            now=session.now(),
            roles=house.role_names(),
        )
    session.say(f"{made.name}: {slots.describe(made)}")


@app.command("set", epilog="Example: `provisioner slot set node-17 --role simple`")
@stated(STATED)
def set_fields(
    slot: Ref,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    diff: edits.Diff = False,
    plan: edits.Plan = "",
    **fields: Any,
) -> None:
    """Change what is stated of a place; fields not named stay."""
    fields |= {"name": name} if name is not None else {}
    if not fields:
        raise Refused("nothing to change", "name a field, like --role simple")
    with session.house() as house:
        who: dict[str, Any] = {"now": session.now(), "roles": house.role_names()}
        if diff:
            edits.show(saving.plan_slot(house.store, house.planner, slot, fields, **who)[0])
            return
        changed = saving.change_slot(
            house.store, house.planner, slot, fields, plan=plan, actor=session.actor(), **who
        )
    session.say(f"{changed.name}: {slots.describe(changed)}")


@app.command(epilog="Example: `provisioner slot replace node-17 --mac 52:54:00:12:34:99`")
def replace(
    slot: Ref,
    mac: Annotated[str, typer.Option(help="MACs of the new board, boot NIC first; or one of a listed machine.")],
    bmc: Annotated[str | None, typer.Option(help="Address of its BMC; without it the slot's.")] = None,
) -> None:
    """Another board sits in this slot: it has its name, role and address; nobody else is touched."""
    fields = {"mac": mac} | ({"bmc": bmc} if bmc else {})
    with session.house() as house:
        board = slots.replace_board(house.store, slot, fields, actor=session.actor(), now=session.now())
    session.say(f"{board.name}: MAC {', '.join(map(str, board.macs))}, {board.ip or 'no address'}; {board.state}")


@app.command(epilog="Example: `provisioner slot remove node-17`")
def remove(slot: Ref) -> None:
    """Forget an empty place and free its addresses."""
    with session.house() as house:
        slots.remove_slot(house.store, slot, actor=session.actor(), now=session.now())
    session.say(f"{slot} removed")
