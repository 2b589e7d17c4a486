"""The command line: every command on one screen, and how a refusal is shown.

A command's module is imported when the command is typed: the help waits for none of them.
"""

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from provisioner.cli import config_file
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.misfits import misfit

COMMANDS = {
    "serve": "Serve DHCP, TFTP, the machines, the page and the images until stopped.",
    "simulate": "Show what the machine would be told if it powered on now: DHCP, loader, script, files. "
    "Changes nothing.",
    "diagnose": "Say where the machine stands, what should come next, and what to do if it does not come. "
    "Changes nothing.",
    "doctor": "Look at interfaces, ports, firewall, images, roles, clock, disk and database, ask who else answers "
    "DHCP, and fetch what machines fetch. Changes nothing. Exit code 1 if there is a problem.",
    "lab": "A rack on this one machine: real firmware in QEMU behind virtual BMCs.",
    "machine": "Machines: list, edit, import, arm, install, power, events.",
    "slot": "Slots: places that have name, role and address before a machine comes, and after it went.",
    "cluster": "Clusters: their endpoint; who belongs to one is said on slots.",
    "bmc": "BMCs: list them, and read who their servers are.",
    "job": "Jobs: long work, and what came of it.",
    "subnet": "Subnets: addressing, and policy for machines that are not listed.",
    "allocate": "Addresses and names by rule: plan, look, apply.",
    "role": "Roles: folders of templates; list, validate, render, compare, activate.",
    "image": "Netboot images: import, export, fetch, list, verify, remove.",
    "payload": "Files that roles install besides the image.",
    "container": "Container images for offline nodes: import, list, remove.",
    "user": "Users of the page and the API.",
    "token": "API tokens for scripts.",
    "db": "The database: backup, restore, upgrade.",
}
"""What the help says of each. Its module is named like it and has either ``app``, a noun's commands, or the one
function of that name with its ``EXAMPLE``."""


class _Root(TyperGroup):
    """Lists the commands by their sentences, and loads the one that is typed."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {name: TyperCommand(name, help=sentence) for name, sentence in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


@cache
def load(name: str) -> TyperCommand | TyperGroup:
    """The command, or a noun with its commands, of one of the names in ``COMMANDS``."""
    module = import_module(f"provisioner.cli.{name}")
    alone = typer.Typer(rich_markup_mode="markdown")
    alone.callback()(_nothing)
    if group := getattr(module, "app", None):
        alone.add_typer(group, name=name, help=COMMANDS[name])
    else:
        alone.command(name, epilog=module.EXAMPLE)(getattr(module, name))
    commands: Mapping[str, Any] = get_group(alone).commands
    loaded: TyperCommand | TyperGroup = commands[name]
    return loaded


def _nothing() -> None:
    pass


app = typer.Typer(
    name="provisioner",
    cls=_Root,
    help="Bare-metal provisioning: DHCP, TFTP and HTTP from one inventory.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    config: Annotated[
        Path | None,
        typer.Option(readable=False, help="Settings file; may stand before or after the command.", metavar="FILE"),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Bare-metal provisioning: DHCP, TFTP and HTTP from one inventory."""
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415 - slow, and nothing else needs it

        print(f"provisioner {installed('provisioner')}")
        raise typer.Exit
    config_file.use(config)


def whole() -> TyperGroup:
    """All of it, loaded: what the reference is written from."""
    group = get_group(app)
    group.commands = {name: load(name) for name in COMMANDS}
    return group


def main(argv: list[str] | None = None) -> None:
    """Run a command. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 partly done."""
    try:
        words = config_first(sys.argv[1:] if argv is None else argv)
        raise SystemExit(app(words, prog_name="provisioner", standalone_mode=False))
    except (Refused, StoreUnavailable) as refusal:
        print(f"provisioner: {refusal}", file=sys.stderr)
        raise SystemExit(1) from None
    except typer.Abort:
        raise SystemExit(130) from None
    except typer.TyperException as misuse:
        if said := usage(misuse):
            print(f"provisioner: {said}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Python flushes once more at exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def usage(misuse: Exception) -> str:
    """A command line that cannot be understood, in one sentence with its remedy; '' if the help was printed."""
    context = getattr(misuse, "ctx", None)
    parameter = getattr(misuse, "param", None)
    problem = str(getattr(misuse, "format_message", misuse.__str__)()).strip().removesuffix(".")
    # By its look: to import pydantic for its name would slow every command down.
    if parameter is not None and (errors := getattr(misuse.__cause__, "errors", None)):
        detail = errors()[0]
        named = parameter.get_error_hint().strip("'")
        problem = f"{named} {detail['input']!r} {misfit(detail)}"
    if not problem:
        return ""
    help_of = f"`{context.command_path if context else 'provisioner'} --help` shows how"
    return f"{problem}; {help_of}" if not problem.endswith("?") else f"{problem} {help_of}"


def config_first(argv: list[str]) -> list[str]:
    """Move ``--config F`` to the front, so that it may stand after the verb as well."""
    moved: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--config":
            value = next(words, None)
            if value is None:
                raise typer.TyperException("--config names no file")
            moved = [word, value]
        elif word.startswith("--config="):
            moved = [word]
        else:
            rest.append(word)
    return moved + rest
