"""``provisioner job``: long work, how far it is, and going on with what was interrupted."""

import re
from typing import Annotated, Any

import typer

from provisioner.actions import bmc_jobs
from provisioner.cli import progress, session
from provisioner.domain.errors import Refused
from provisioner.domain.records import Job
from provisioner.wiring import House

app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ref = Annotated[str, typer.Argument(metavar="JOB", help="Its id.")]
_COLUMNS = ("id", "kind", "state", "done", "total", "actor", "created")


def as_dict(job: Job) -> dict[str, Any]:
    """A job as the commands print it, without its results."""
    return {
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "actor": job.actor,
        "created": session.moment(job.created_at),
    }


@app.command("list", epilog="Example: `provisioner job list --json`")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    json: Json = False,
) -> None:
    """List jobs, the newest first."""
    with session.house() as house, house.store.reading() as tx:
        rows = [as_dict(job) for job in tx.jobs.list()[:limit]]
    if json:
        session.show_json(rows)
    else:
        session.show_table(_COLUMNS, rows, "no jobs; `provisioner bmc harvest` makes one")


@app.command(epilog="Example: `provisioner job show 0b8e1c9e-…`")
def show(job: Ref, json: Json = False) -> None:
    """What came of each target of a job."""
    with session.house() as house, house.store.reading() as tx:
        found = tx.jobs.get(job)
    show_results(found, json)


@app.command(epilog="Example: `provisioner job resume 0b8e1c9e-…`")
def resume(job: Ref, json: Json = False) -> None:
    """Go on with an interrupted BMC job: who has a result is not asked again."""
    with session.house() as house:
        with house.store.reading() as tx:
            found = tx.jobs.get(job)
        if found.kind not in bmc_jobs.KINDS:
            raise Refused(
                f"job {found.id} is no BMC job but {found.kind}", "the service that it is for goes on with it"
            )
        finish(house, found, json)


def finish(house: House, job: Job, json: bool) -> None:
    """Carry a job out, with a bar, and print its results; exit 1 if all failed, 3 if some did."""
    report(carried_out(house, job), json)


def carried_out(house: House, job: Job) -> Job:
    """The finished job. Ctrl-C leaves it to be resumed."""
    try:
        with progress.bar(job.kind) as step:
            return house.finish(job, step)
    except KeyboardInterrupt:
        session.warn(f"interrupted; `provisioner job resume {job.id}` goes on where it was")
        raise typer.Exit(1) from None


def report(job: Job, json: bool) -> None:
    """What came of it, and the exit code that says so."""
    show_results(job, json)
    if job.state != "done":
        raise typer.Exit(3 if job.state == "partly" else 1)


def show_results(job: Job, json: bool) -> None:
    """Each result by name: successes on stdout, then failures on stderr, and how many."""
    if json:
        session.show_json({"job": str(job.id), "state": job.state, "result": list(job.result.values())})
        return
    results = sorted(job.result.values(), key=lambda result: (not result["ok"], natural(str(result["name"]))))
    for result in results:
        (session.say if result["ok"] else session.warn)(f"{result['name']}: {result['said']}")
    failed = sum(1 for result in results if not result["ok"])
    if failed and len(results) > 1:
        session.warn(f"{job.kind}: {len(results) - failed} of {len(results)} done, {failed} failed")


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts node-2 before node-10, and 10.9.0.2 before 10.9.0.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
