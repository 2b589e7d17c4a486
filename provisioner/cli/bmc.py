"""``provisioner bmc``: the doors to the servers' power and identity."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

import typer

from provisioner.actions import bmcs, inventory_file, logins, power
from provisioner.actions import health as asking
from provisioner.actions import reconcile as actions_reconcile
from provisioner.actions import scan as scanning
from provisioner.cli import job as jobs
from provisioner.cli import login, session
from provisioner.domain.bmc import Health
from provisioner.domain.records import Job

app = typer.Typer(no_args_is_help=True)
app.add_typer(login.app, name="login")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CONDITION = ("power", "health", "readings", "notes")


@app.command(epilog="Example: `provisioner bmc add 10.12.200.17 --user admin --password-stdin < password`")
def add(
    address: Annotated[str, typer.Argument(help="IP address of the BMC.")],
    user: Annotated[str, typer.Option(help="User name.")] = "",
    password_stdin: login.Stdin = False,
    password_file: login.File = None,
    protocol: Annotated[str, typer.Option(help="ipmi, redfish, cmm (chassis manager) or auto; default ipmi.")] = "",
    port: Annotated[int | None, typer.Option(help="Default 623 for IPMI, 443 for the others.")] = None,
    chassis: Annotated[str, typer.Option(help="Chassis it hangs on; of a chassis manager: its name.")] = "",
    new_certificate: Annotated[bool, typer.Option(help="Forget the pinned certificate; pin the next.")] = False,
) -> None:
    """List a BMC with its login. The password never stands on a command line."""
    fields: dict[str, Any] = {
        "address": address,
        "user": user,
        "protocol": protocol,
        "port": port,
        "chassis": chassis,
    }
    fields["new_certificate"] = new_certificate
    if user:
        fields["password"] = session.password(f"{user} at {address}", stdin=password_stdin, file=password_file)
    with session.house() as house:
        made = bmcs.add_bmc(house.store, fields, actor=session.actor(), now=session.now())
    session.say(f"BMC {made.address} listed; `provisioner bmc harvest` reads who its server is")


@app.command("list", epilog="Example: `provisioner bmc list --json`")
def list_bmcs(json: Json = False) -> None:
    """List BMCs and the machines behind them."""
    with session.house() as house, house.store.reading() as tx:
        machines = {m.bmc_id: m.name for m in tx.machines.list() if m.bmc_id}
        users = logins.users(tx)
        rows = [
            {
                "address": bmc.address,
                "protocol": bmc.protocol,
                "port": bmc.port,
                "chassis": bmc.chassis,
                "login": ", ".join(users(bmc)) or "none",
                "machine": machines.get(bmc.id, ""),
            }
            for bmc in sorted(tx.bmcs.list(), key=lambda bmc: jobs.natural(bmc.address))
        ]
    if json:
        session.show_json(rows)
    else:
        columns = ("address", "protocol", "port", "chassis", "login", "machine")
        session.show_table(columns, rows, "no BMCs; `provisioner bmc add ADDRESS --user U --password-stdin`")


@app.command(epilog="Example: `provisioner bmc show 10.12.200.17`")
def show(
    bmc: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="IP address of the BMC, or the name of its machine.")
    ],
    json: Json = False,
) -> None:
    """Ask a BMC how its server is: power, health, sensors."""
    job, (result,) = _conditions([bmc])
    if not result["ok"]:
        jobs.report(job, json)
    if json:
        session.show_json({"address": result["name"], **{key: result[key] for key in _CONDITION}})
        return
    session.say(f"{result['name']}: power {result['power']}, health {result['health']}")
    if result["readings"]:
        session.show_table(("name", "value", "unit", "health", "state"), result["readings"], "")
    for note in result["notes"]:
        session.warn(note)


@app.command(epilog="Example: `provisioner bmc health`")
def health(
    bmcs: Annotated[
        list[str] | None, typer.Argument(metavar="[ADDRESS...]", help="Addresses or machine names; default: all.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask many BMCs how their servers are; those that need a look come first."""
    job, results = _conditions(bmcs or None)
    if json:
        jobs.report(job, json)
        return
    with session.house() as house, house.store.reading() as tx:
        addresses = {bmc.id: bmc.address for bmc in tx.bmcs.list()}
        names = {addresses[m.bmc_id]: m.name for m in tx.machines.list() if m.bmc_id in addresses}
    rows = [
        {
            "bmc": result["name"],
            "machine": names.get(result["name"], ""),
            "power": result.get("power", ""),
            "health": result.get("health", "not read"),
            "said": result["said"] if not result["ok"] else _odd(result),
        }
        for result in results
    ]
    worst_first = ["not read", *reversed(Health)]
    rows.sort(key=lambda row: (worst_first.index(row["health"]), row["machine"], row["bmc"]))
    session.show_table(("bmc", "machine", "power", "health", "said"), rows, "")
    if job.state != "done":
        raise typer.Exit(3 if job.state == "partly" else 1)


def _conditions(bmcs: list[str] | None) -> tuple[Job, list[dict[str, Any]]]:
    with session.house() as house:
        job = asking.enqueue_condition(house.store, bmcs, actor=session.actor(), now=session.now())
        job = jobs.carried_out(house, job)
    return job, list(job.result.values())


def _odd(result: dict[str, Any]) -> str:
    """The readings that stand out, and what could not be read."""
    bad = [each for each in result["readings"] if each["health"] in (Health.WARNING, Health.CRITICAL)]
    said = [" ".join(filter(None, (each["name"], _figure(each), each["state"], each["health"]))) for each in bad]
    return "; ".join([*said, *result["notes"]])


def _figure(reading: dict[str, Any]) -> str:
    return "" if reading["value"] is None else f"{reading['value']:g} {reading['unit']}".strip()


@app.command(epilog="Example: `provisioner bmc harvest`")
def harvest(
    addresses: Annotated[list[str] | None, typer.Argument(metavar="[ADDRESS...]", help="Default: all.")] = None,
    json: Json = False,
) -> None:
    """Ask the BMCs who their servers are: model, serial, MACs. Adds; overwrites nothing an operator set."""
    with session.house() as house:
        job = power.enqueue_harvest(house.store, addresses or None, actor=session.actor(), now=session.now())
        jobs.finish(house, job, json)


@app.command(epilog="Example: `provisioner bmc scan 10.12.200.0/22 --add --user admin --password-stdin < password`")
def scan(
    prefix: Annotated[str, typer.Argument(metavar="CIDR", help="Where BMCs are, like 10.12.200.0/22.")],
    add: Annotated[bool, typer.Option("--add", help="List those that are new.")] = False,
    user: Annotated[str, typer.Option(help="With --add: log in with this user in the whole range.")] = "",
    password_stdin: login.Stdin = False,
    password_file: login.File = None,
    json: Json = False,
) -> None:
    """Find BMCs by RMCP ping (UDP 623), Redfish's service root and chassis managers' login page (HTTPS).

    Logs in nowhere. What is listed by --add has its certificate pinned as it was seen here.
    """
    secret = session.password(f"{user} in {prefix}", stdin=password_stdin, file=password_file) if user else ""
    with session.house() as house:
        job = scanning.enqueue_scan(
            house.store, prefix, actor=session.actor(), now=session.now(), add=add, user=user, password=secret
        )
        job = jobs.carried_out(house, job)
    if json:
        jobs.report(job, json)
        return
    found = [result for result in job.result.values() if result["protocols"]]
    columns = ("address", "protocols", "vendor", "model", "listed")
    session.show_table(columns, found, f"nobody answers as a BMC in {prefix}: check VLAN and routes, then power")
    for result in job.result.values():
        if not result["protocols"]:
            session.warn(f"{result['name']} {result['said']}")
    told = Counter(result["listed"] for result in found)
    counts = ", ".join(f"{count} {word}" for word, count in sorted(told.items()))
    session.say(f"{len(found)} BMCs among {job.total} addresses{': ' if counts else ''}{counts}")
    if told["new"]:
        session.say(f"`provisioner bmc scan {prefix} --add --user U` lists the new ones with a login")
    if told["listed"]:
        hint = "" if user else f", once `provisioner bmc login add {prefix} --user U` has given them a login"
        session.say(f"`provisioner bmc harvest` reads who their servers are{hint}")


@app.command(epilog="Example: `provisioner bmc reconcile vendor.csv`")
def reconcile(
    file: Annotated[
        str,
        typer.Argument(help="The vendor's list, columns as of machine import; '-' reads stdin; default: the last."),
    ] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Forget the list and what contradicts it.")] = False,
    json: Json = False,
) -> None:
    """Compare the vendor's list with what BMCs told and DHCP saw; exit 1 if they disagree.

    Machines that contradict the list are not armed until a comparison finds them right. The list is kept, and
    compared again after every harvest.
    """
    rows = inventory_file.parse(*session.read(file)) if file else None
    with session.house() as house:
        if forget:
            actions_reconcile.forget(house.store, actor=session.actor(), now=session.now())
            session.say("the vendor's list is forgotten")
            return
        findings = actions_reconcile.compare(house.store, rows, actor=session.actor(), now=session.now())
    if json:
        session.show_json([asdict(finding) for finding in findings])
    else:
        session.show_table(
            ("kind", "machines", "listed", "found", "fix"),
            [asdict(finding) for finding in findings],
            "the vendor's list agrees with what BMCs and DHCP tell",
        )
    if findings:
        raise typer.Exit(1)


@app.command(epilog="Example: `provisioner bmc remove 10.12.200.17`")
def remove(address: Annotated[str, typer.Argument(help="IP address of the BMC.")]) -> None:
    """Forget a BMC and its login."""
    with session.house() as house:
        bmcs.remove_bmc(house.store, address, actor=session.actor(), now=session.now())
    session.say(f"BMC {address} removed")
