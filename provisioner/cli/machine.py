"""``provisioner machine``: the inventory, and what is asked of machines."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from provisioner.actions import edits as saving
from provisioner.actions import enrol, intent, inventory_file, newcomers, power
from provisioner.actions import fields as read
from provisioner.cli import boot_from, console, edits, rescue, session, transitions
from provisioner.cli.job import finish
from provisioner.cli.transitions import Hours, Refs, Wipe
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.inventory import slot_order
from provisioner.domain.machine import Machine, State

app = typer.Typer(no_args_is_help=True)

app.command(epilog="Example: `provisioner machine rescue node-01 --power-cycle`")(rescue.rescue)
app.command(epilog=console.EXAMPLE)(console.console)
app.command(epilog=boot_from.EXAMPLE)(boot_from.boot)
app.add_typer(boot_from.media, name="media")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[str, typer.Argument(metavar="MACHINE", help="Name, id, MAC or address.")]
DhcpOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A DHCP option, again for more; NAME= removes."),
]
SwitchPort = Annotated[
    str | None, typer.Option(help="The switch port of its place, as relays name it, like 'sw3 17'; '' for none.")
]
Menu = Annotated[
    str | None,
    typer.Option(
        help="Roles that a person at its console may choose, by ';'; none: no menu; '': as its subnet says."
    ),
]
COLUMNS = ("name", "state", "phase", "ip", "mac", "role", "rack", "unit", "reason")


def as_dict(machine: Machine, bmc: str = "") -> dict[str, Any]:
    """A machine as the commands print it."""
    install = machine.install
    return {
        "id": str(machine.id),
        **enrol.stated(machine),
        "bmc": bmc,
        "uuid": str(machine.uuid or ""),
        "firmware": machine.firmware,
        "state": machine.state.value,
        "reason": machine.state_reason,
        "phase": install.phase.value if install and install.phase else "",
        "percent": install.percent if install else None,
        "attempts": install.attempts if install else 0,
        "approved": machine.approved,
        "live": machine.live,
        "version": machine.version,
    }


@app.command("list", epilog="Example: `provisioner machine list --state failed --json`")
def list_machines(
    state: Annotated[str, typer.Option(help="Only this state.")] = "",
    role: Annotated[str, typer.Option(help="Only this role.")] = "",
    json: Json = False,
) -> None:
    """List machines in the order of their slots."""
    if state and state not in tuple(State):
        raise InvalidValue("state", state, "is not known", f"choose one of {', '.join(State)}")
    with session.house() as house, house.store.reading() as tx:
        bmcs = {bmc.id: bmc.address for bmc in tx.bmcs.list()}
        machines = sorted(tx.machines.list(), key=slot_order)
    rows = [
        as_dict(m, bmcs.get(m.bmc_id, "") if m.bmc_id else "")
        for m in machines
        if (not state or m.state == state) and (not role or m.slot.role == role)
    ]
    if json:
        session.show_json(rows)
    else:
        none = "no machines; `provisioner machine add --name node-01 --mac 52:54:00:12:34:56`"
        session.show_table(COLUMNS, rows, f"none of {len(machines)} machines is like that" if machines else none)


@app.command(epilog="Example: `provisioner machine show node-01`")
def show(machine: Ref, json: Json = False) -> None:
    """Show one machine."""
    with session.house() as house, house.store.reading() as tx:
        found = tx.machines.get(machine)
        bmc = tx.bmcs.find(str(found.bmc_id)) if found.bmc_id else None
    row = as_dict(found, bmc.address if bmc else "")
    if json:
        session.show_json(row)
        return
    for key, value in row.items():
        if value not in ("", None, {}):
            session.say(f"{key:10} {value}")


@app.command(epilog="Example: `provisioner machine add --name node-01 --mac 52:54:00:12:34:56 --ip 10.12.1.17`")
def add(
    name: Annotated[str, typer.Option(help="Host name.")],
    mac: Annotated[str, typer.Option(help="MAC of the boot NIC; several separated by ';'.")],
    ip: Annotated[str, typer.Option(help="Address; several by ';' in the order of the MACs.")] = "",
    role: Annotated[str, typer.Option(help="Role.")] = "",
    rack: Annotated[str, typer.Option(help="Rack.")] = "",
    unit: Annotated[int | None, typer.Option(help="Height unit.")] = None,
    cluster: Annotated[str, typer.Option(help="Cluster.")] = "",
    bmc: Annotated[str, typer.Option(help="Address of its BMC.")] = "",
    labels: Annotated[str, typer.Option(help="k=v;k2=v2")] = "",
    params: Annotated[str, typer.Option(help="Role parameters, JSON.")] = "",
    options: DhcpOptions = None,
    switch_port: SwitchPort = None,
    menu: Menu = None,
    json: Json = False,
) -> None:
    """List a machine."""
    fields = {key: value for key, value in locals().items() if key in intent.FIELDS and value not in ("", None, [])}
    with session.house() as house:
        made = enrol.add_machine(
            house.store, fields, actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    if json:
        session.show_json(as_dict(made, bmc))
    else:
        session.say(f"{made.name}: {enrol.describe(made)}; {made.state}")
        if made.state is State.NEW:
            session.warn(f"it cannot be armed yet: `provisioner diagnose {made.name}` says what it lacks")


@app.command("set", epilog="Example: `provisioner machine set node-01 --role simple --ip 10.12.1.18`")
def set_fields(
    machine: Ref,
    name: Annotated[str | None, typer.Option(help="New host name.")] = None,
    mac: Annotated[str | None, typer.Option(help="MACs, boot NIC first.")] = None,
    ip: Annotated[str | None, typer.Option(help="Addresses; '' removes.")] = None,
    role: Annotated[str | None, typer.Option(help="Role; '' removes.")] = None,
    rack: Annotated[str | None, typer.Option(help="Rack.")] = None,
    unit: Annotated[str | None, typer.Option(help="Height unit.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Cluster.")] = None,
    bmc: Annotated[str | None, typer.Option(help="Address of its BMC; '' removes.")] = None,
    labels: Annotated[str | None, typer.Option(help="k=v;k2=v2, replaces all.")] = None,
    params: Annotated[str | None, typer.Option(help="Role parameters, JSON, replaces all.")] = None,
    options: DhcpOptions = None,
    switch_port: SwitchPort = None,
    menu: Menu = None,
    diff: edits.Diff = False,
    plan: edits.Plan = "",
    json: Json = False,
) -> None:
    """Change what is stated of a machine; fields not named stay."""
    fields = {key: value for key, value in locals().items() if key in intent.FIELDS and value not in (None, [])}
    if not fields:
        raise Refused("nothing to change", "name a field, like --role simple")
    with session.house() as house:
        who: dict[str, Any] = {"now": session.now(), "roles": house.role_names()}
        if diff:
            edits.show(saving.plan_machine(house.store, house.planner, machine, fields, **who)[0])
            return
        changed = saving.change_machine(
            house.store, house.planner, machine, fields, plan=plan, actor=session.actor(), **who
        )
    if json:
        session.show_json(as_dict(changed))
    else:
        session.say(f"{changed.name}: {enrol.describe(changed)}; {changed.state}")
    if changed.state is State.ARMED:
        session.warn(
            f"it stays armed with what was compiled before; anew: `provisioner machine arm {changed.name}`"
        )
    elif changed.state is State.INSTALLING:
        session.warn("the install that is under way goes on with what was compiled before")


@app.command(epilog="Example: `provisioner machine remove node-01`")
def remove(
    machine: Ref,
    keep_slot: Annotated[
        bool, typer.Option("--keep-slot", help="Its place stays, with name, role and addresses.")
    ] = False,
) -> None:
    """Forget a machine and free its addresses; a slot that was listed by itself stays."""
    with session.house() as house:
        enrol.remove_machine(house.store, machine, actor=session.actor(), now=session.now(), keep_slot=keep_slot)
    session.say(f"{machine} removed")


@app.command(
    "import",
    epilog="Example: `provisioner machine import rack1.csv`; columns: name,mac,ip,role,rack,unit,bmc,labels",
)
def import_file(
    file: Annotated[
        Path, typer.Argument(readable=False, help="CSV, YAML or JSON; '-' reads CSV or JSON from standard input.")
    ],
    json: Json = False,
) -> None:
    """Add and change machines from a file: all of it, or nothing."""
    text, name = session.read(str(file))
    rows = inventory_file.parse(text, name)
    with session.house() as house:
        done = inventory_file.import_machines(
            house.store, rows, actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    if json:
        session.show_json({"added": done.added, "changed": done.changed, "unchanged": done.unchanged})
    else:
        session.say(f"{len(done.added)} added, {len(done.changed)} changed, {done.unchanged} unchanged")


@app.command(epilog="Example: `provisioner machine export --format yaml > inventory.yaml`")
def export(format: Annotated[str, typer.Option(help="csv or yaml.")] = "csv") -> None:  # noqa: A002
    """Print the inventory as a file that imports back to the same."""
    if format not in ("csv", "yaml"):
        raise InvalidValue("format", format, "is not known", "choose csv or yaml")
    with session.house() as house:
        rows = inventory_file.export_rows(house.store)
    text = inventory_file.to_csv(rows) if format == "csv" else inventory_file.to_yaml(rows)
    sys.stdout.write(text)


app.command(epilog="Example: `provisioner machine arm node-01 --hours 4`")(transitions.arm)


@app.command(epilog="Example: `provisioner machine approve server-525400123456 --role simple --ip 10.12.1.17`")
def approve(
    machine: Ref,
    name: Annotated[str | None, typer.Option(help="Host name.")] = None,
    role: Annotated[str | None, typer.Option(help="Role.")] = None,
    ip: Annotated[str | None, typer.Option(help="Address.")] = None,
) -> None:
    """Take in a machine that came by itself, on a subnet whose policy is `approve`."""
    stated = {"name": name, "role": role, "ip": ip}
    fields = {key: value for key, value in stated.items() if value is not None}
    with session.house() as house:
        after = newcomers.approve(
            house.store, machine, fields, actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    session.say(f"{after.name}: {after.state}, {after.state_reason}")


app.command(epilog="Example: `provisioner machine disarm node-01`")(transitions.disarm)
app.command(epilog="Example: `provisioner machine release node-01`")(transitions.release)
app.command(epilog="Example: `provisioner machine accept node-01`")(transitions.accept)
app.command(epilog="Example: `provisioner machine retire node-01`")(transitions.retire)
app.command(epilog="Example: `provisioner machine restore node-01`")(transitions.restore)


@app.command(epilog="Example: `provisioner machine install node-01 node-02`")
def install(
    machines: Refs,
    hours: Hours = None,
    wipe: Wipe = False,
    json: Json = False,
) -> None:
    """Arm, then power-cycle to the network over the BMC."""
    with session.house() as house:
        job = power.enqueue_install(
            house.store,
            house.compiler,
            house.keyring.token_key,
            machines,
            actor=session.actor(),
            now=session.now(),
            hours=house.settings.arm_hours if hours is None else hours,
            wipe=wipe,
        )
        finish(house, job, json)


@app.command("power", epilog="Example: `provisioner machine power on --rack r1 --wave 20 --every 5s`")
def power_machines(
    operation: Annotated[str, typer.Argument(help="on, off, cycle, reset or status.")],
    machines: Annotated[list[str] | None, typer.Argument(metavar="[MACHINE...]", help="Names, ids, MACs.")] = None,
    rack: Annotated[str, typer.Option(help="All machines of this rack that have a BMC.")] = "",
    wave: Annotated[int, typer.Option(help="So many at a time; 0: all at once.")] = 0,
    every: Annotated[str, typer.Option(help="Pause between waves, like 5s or 2m.")] = "0s",
    json: Json = False,
) -> None:
    """Switch machines over their BMCs. Interrupted, the job goes on where it was; nobody is switched twice."""
    with session.house() as house:
        job = power.enqueue(
            house.store,
            machines or [],
            operation,
            actor=session.actor(),
            now=session.now(),
            rack=rack,
            wave=wave,
            every=read.seconds(every, "every"),
        )
        finish(house, job, json)


@app.command(epilog="Example: `provisioner machine events node-01 --limit 20`")
def events(
    machine: Annotated[str, typer.Argument(metavar="[MACHINE]", help="Default: all machines.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    json: Json = False,
) -> None:
    """What happened, with reasons, oldest first."""
    with session.house() as house, house.store.reading() as tx:
        machine_id = tx.machines.get(machine).id if machine else None
        found = list(reversed(tx.events.list(machine_id=machine_id, limit=limit)))
    if json:
        session.show_json([event_dict(event) for event in found])
        return
    for event in found:
        session.say(
            f"{_when(event.at)}  {event.kind:16} {event.message}" + (f"  [{event.actor}]" if event.actor else "")
        )


@app.command(epilog="Example: `provisioner machine log node-01`")
def log(machine: Ref) -> None:
    """The install log that the machine sent last."""
    with session.house() as house, house.store.reading() as tx:
        found = tx.machines.get(machine)
        logs = [e for e in tx.events.list(machine_id=found.id, limit=1000) if e.kind is Kind.REPORT_LOG]
    if not logs:
        raise Refused(
            f"machine {found.name} has sent no log", "it sends one at the end of an install or on failure"
        )
    session.say(str(logs[0].data.get("text", "")).rstrip())


def event_dict(event: Event) -> dict[str, Any]:
    """An event as the commands print it."""
    return {
        "id": event.id,
        "at": _when(event.at),
        "kind": event.kind.value,
        "machine_id": str(event.machine_id or ""),
        "mac": str(event.mac or ""),
        "phase": event.phase.value if event.phase else "",
        "actor": event.actor,
        "message": event.message,
        "data": {key: value for key, value in event.data.items() if key != "text"},
    }


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
