"""The command line: every command on one screen, and how a refusal is shown."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from provisioner.cli import (
    allocate,
    bmc,
    boot_from,
    cluster,
    console,
    container,
    db,
    diagnose,
    doctor,
    image,
    job,
    lab,
    machine,
    payload,
    role,
    serve,
    session,
    simulate,
    slot,
    subnet,
    token,
    user,
)
from provisioner.domain.errors import Refused, StoreUnavailable

app = typer.Typer(
    name="provisioner",
    help="Bare-metal provisioning: DHCP, TFTP and HTTP from one inventory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.add_typer(lab.app, name="lab")
machine.app.command("console", epilog=console.EXAMPLE)(console.console)
machine.app.command("boot", epilog=boot_from.EXAMPLE)(boot_from.boot)
machine.app.add_typer(boot_from.media, name="media")
app.add_typer(machine.app, name="machine")
app.add_typer(slot.app, name="slot")
app.add_typer(cluster.app, name="cluster")
app.add_typer(bmc.app, name="bmc")
app.add_typer(job.app, name="job")
app.add_typer(subnet.app, name="subnet")
app.add_typer(allocate.app, name="allocate")
app.add_typer(role.app, name="role")
app.add_typer(image.app, name="image")
app.add_typer(payload.app, name="payload")
app.add_typer(container.app, name="container")
app.command("simulate", epilog=simulate.EXAMPLE)(simulate.simulate)
app.command("diagnose", epilog=diagnose.EXAMPLE)(diagnose.diagnose)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(db.app, name="db")


@app.callback()
def root(
    config: Annotated[
        Path | None,
        typer.Option(readable=False, help="Settings file; may stand before or after the command.", metavar="FILE"),
    ] = None,
) -> None:
    """Bare-metal provisioning: DHCP, TFTP and HTTP from one inventory."""
    session.use(config)


def main(argv: list[str] | None = None) -> None:
    """Run a command. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 partly done."""
    try:
        app(config_first(sys.argv[1:] if argv is None else argv), prog_name="provisioner")
    except (Refused, StoreUnavailable) as refusal:
        print(f"provisioner: {refusal}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        raise SystemExit(1) from None


def config_first(argv: list[str]) -> list[str]:
    """Move ``--config F`` to the front, so that it may stand after the verb as well."""
    moved: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--config":
            moved = [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--config="):
            moved = [word]
        else:
            rest.append(word)
    return moved + rest
