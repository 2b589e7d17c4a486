"""``provisioner cluster``: what the machines of a cluster share."""

from typing import Annotated, Any

import typer

from provisioner.actions import clusters
from provisioner.actions import edits as saving
from provisioner.cli import edits, session
from provisioner.domain.cluster import Cluster
from provisioner.domain.machine import Machine

app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="CLUSTER", help="Name or id.")]
ENDPOINT = "Where its service answers: HOST, HOST:PORT or https://HOST:PORT; '' for none."


def as_dict(cluster: Cluster, machines: list[Machine]) -> dict[str, Any]:
    """A cluster as the commands print it."""
    return {
        "id": str(cluster.id),
        "name": cluster.name,
        "endpoint": cluster.endpoint,
        "machines": [machine.name for machine in machines if machine.slot.cluster == cluster.name],
        "version": cluster.version,
    }


@app.command("list", epilog="Example: `provisioner cluster list --json`")
def list_clusters(json: Json = False) -> None:
    """List clusters and their machines."""
    with session.house() as house, house.store.reading() as tx:
        machines = list(tx.machines.list())
        rows = [as_dict(cluster, machines) for cluster in tx.clusters.list()]
    if json:
        session.show_json(rows)
    else:
        empty = "no clusters; `provisioner cluster add core --endpoint 10.12.1.10:6443`"
        session.show_table(("name", "endpoint", "machines"), rows, empty)


@app.command(epilog="Example: `provisioner cluster show core`")
def show(cluster: Name, json: Json = False) -> None:
    """Show one cluster."""
    with session.house() as house, house.store.reading() as tx:
        row = as_dict(tx.clusters.get(cluster), list(tx.machines.list()))
    if json:
        session.show_json(row)
    else:
        for key, value in row.items():
            session.say(f"{key:10} {' '.join(value) if isinstance(value, list) else value}")


@app.command(epilog="Example: `provisioner cluster add core --endpoint 10.12.1.10:6443`")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.")],
    endpoint: Annotated[str, typer.Option(help=ENDPOINT)] = "",
) -> None:
    """List a cluster."""
    with session.house() as house:
        made = clusters.put_cluster(
            house.store, name, {"endpoint": endpoint}, actor=session.actor(), now=session.now(), create=True
        )
    session.say(f"{made.name}: {clusters.describe(made)}")


@app.command("set", epilog="Example: `provisioner cluster set core --endpoint https://core.example.org:6443`")
def set_fields(
    cluster: Name,
    endpoint: Annotated[str, typer.Option(help=ENDPOINT)],
    diff: edits.Diff = False,
    plan: edits.Plan = "",
) -> None:
    """Change a cluster. Machines that are armed already keep what was compiled for them."""
    with session.house() as house:
        fields = {"endpoint": endpoint}
        if diff:
            edits.show(saving.plan_cluster(house.store, house.planner, cluster, fields)[0])
            return
        made = saving.change_cluster(
            house.store, house.planner, cluster, fields, plan=plan, actor=session.actor(), now=session.now()
        )
    session.say(f"{made.name}: {clusters.describe(made)}")


@app.command(epilog="Example: `provisioner cluster remove core`")
def remove(cluster: Name) -> None:
    """Forget a cluster that no slot names."""
    with session.house() as house:
        clusters.remove_cluster(house.store, cluster, actor=session.actor(), now=session.now())
    session.say(f"{cluster} removed")
