"""``provisioner lab run``: a rack installs itself, and the lab checks from outside whether that is true.

The appliance is told the BMCs' addresses and logins, a subnet and an image, by its own command line. What the lab
knows besides (true MACs, the wire, the neighbour table) it uses only to judge.
"""

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import provisioner
from provisioner.boot.roles import RoleFolder
from provisioner.domain.boot import LOADER_LABEL, SHIM
from provisioner.domain.errors import Refused
from provisioner.lab import faults, record
from provisioner.lab.appliance import Appliance
from provisioner.lab.board import Board, Row
from provisioner.lab.judge import Judge
from provisioner.lab.machine import LabFirmware
from provisioner.lab.programs import check_requirements
from provisioner.lab.rack import MOST, Rack
from provisioner.lab.router import Router
from provisioner.lab.witness import Witness

TREE = Path(provisioner.__file__).parent.parent
IMAGE = "flatcar"
_FIRST = 11
"""Machines' addresses start at .11; BMCs are at .201 and up."""
CLUSTER = "lab"
"""All machines are in it, so that roles find their peers."""
_ENDPOINT = 100
"""Host number of the cluster's endpoint, for roles that carry an address between them."""
_POLL = 4.0
"""Seconds; each poll starts a command, which costs half a second of a core that the guests need."""
_BOOT_SECONDS = 300.0
"""For one more boot from the disk, under emulation on a busy host."""
_ENDED = ("active", "failed", "quarantined")


@dataclass(frozen=True)
class LabOptions:
    """What is asked of a run. Defaults are the demonstration: one BIOS and one UEFI machine."""

    machines: int = 2
    firmware: str = "mixed"
    """bios, uefi, uefi-http, uefi-secure, mixed: BIOS and UEFI in turn, or all: every kind in turn."""
    role: str = "simple"
    """Several, separated by commas, go to the machines in turn."""
    install: bool = True
    """False builds rack and appliance, lists the BMCs, and leaves the rest to the operator (``lab up``)."""
    keep: bool = False
    """Keep serving at the end, until Ctrl-C."""
    json: bool = False
    timeout: float = 0
    """Seconds to install; 0: ten minutes and two more for each machine."""
    drop_callbacks: bool = False
    wrong_mac: bool = False
    """The first machine's FRU lies about its MAC."""
    directory: Path | None = None
    """Kept afterwards, with logs and database; None: made, and removed at the end."""
    netboot_assets: Path = TREE / "netboot_assets"
    cloud_configs: Path | None = None
    payload: Path | None = None
    """Every file below it is added to the payload, under its path there."""
    images: tuple[str, ...] = ()
    """NAME=DIR each, imported beside the lab's own."""
    honour_boot_device: bool = False
    power_cycle: bool = False
    """Power-cycle every machine that arrived once more: it has to come home from its disk, and nothing installs."""


def firmwares(options: LabOptions) -> list[LabFirmware]:
    """The firmware of each machine. Raises Refused."""
    if not 1 <= options.machines <= MOST:
        raise Refused(f"--machines {options.machines} cannot be built", f"ask for 1 to {MOST}")
    turns = {"mixed": (LabFirmware.BIOS, LabFirmware.UEFI), "all": tuple(LabFirmware)}
    if kinds := turns.get(options.firmware):
        return [kinds[index % len(kinds)] for index in range(options.machines)]
    if options.firmware not in tuple(LabFirmware):
        raise Refused(
            f"--firmware {options.firmware!r} is not known", f"choose {', '.join(LabFirmware)}, mixed or all"
        )
    return [LabFirmware(options.firmware)] * options.machines


def main(options: LabOptions) -> int:
    """Run the lab; 0 only if every machine arrived. Raises Refused. Everything is gone when it returns or raises,
    by Ctrl-C and SIGTERM too."""
    wanted = firmwares(options)
    for named in options.images:
        if not Path(named.partition("=")[2]).is_dir():
            raise Refused(f"--image {named!r} names no folder", "write NAME=DIR")
    roles = RoleFolder(options.cloud_configs or TREE / "cloud_configs")
    for name in options.role.split(",") if options.install else ():
        roles.get(name.strip())
    if options.drop_callbacks:
        check_requirements(uefi=False, further=[("nft", "nftables")])
    image = options.netboot_assets / "build" / "images" / IMAGE / "lab"
    if options.install and not image.is_dir():
        raise Refused(f"the lab's image is not at {image}", "run `make setup` to build it")
    shim = options.netboot_assets / "build" / "loaders" / SHIM
    if LabFirmware.UEFI_SECURE in wanted and not shim.exists():
        raise Refused(f"there is no {shim}", "apt install shim-signed grub-efi-amd64-signed, then `make setup`")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        rack = Rack(
            wanted,
            options.directory,
            honour_boot_device=options.honour_boot_device,
            wrong_mac={0} if options.wrong_mac else (),
        )
        with rack, Board(quiet_stdout=options.json) as board:
            run = _Run(options, rack, board)
            try:
                return run.carry_out(image)
            finally:
                run.stop()
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Run:
    """One run, from the first command to the verdict."""

    def __init__(self, options: LabOptions, rack: Rack, board: Board) -> None:
        self._options = options
        self._rack = rack
        self._board = board
        self._witness = Witness(rack.network.wire, rack.directory / "witness.jsonl")
        self._router = Router(rack.network.wire)
        tree = {"netboot_assets": options.netboot_assets.absolute()}
        if options.cloud_configs is not None:
            tree["cloud_configs"] = options.cloud_configs.absolute()
        self._appliance = Appliance(rack.network, rack.directory / "appliance", tree)
        self._by_bmc = {machine.bmc_address: machine for machine in rack.machines}
        self._arrived: dict[str, float] = {}
        self._started = time.monotonic()

    def carry_out(self, image: Path) -> int:
        say = self._board.say
        say(f"rack {self._rack.name}: {len(self._rack.machines)} machines, powered off")
        self._witness.start()
        self._router.start()
        if self._options.drop_callbacks:
            faults.drop_callbacks(self._rack.network.appliance)
        self._appliance.start()
        if not self._witness.watching:
            raise Refused("nothing can watch the lab's wire, so nothing could be proven", "run as root")
        record.write(
            self._rack.name,
            self._rack.network.namespaces,
            self._rack.directory,
            ours=self._options.directory is None,
            page=self._appliance.page,
        )
        say(f"page: {self._appliance.page}")
        if self._appliance.login_link:
            say(f"first login (valid once): {self._appliance.login_link}")
        self._tell(image)
        code = self._install() if self._options.install else 0
        if self._options.keep or not self._options.install:
            say("serving until Ctrl-C")
            # Ctrl-C is how it is meant to end: what counts is whether the machines arrived.
            with suppress(KeyboardInterrupt):
                while self._appliance.serving:
                    time.sleep(0.5)
                raise Refused(f"the appliance ended: {self._appliance.last_words()}")
        return code

    def stop(self) -> None:
        self._appliance.stop()
        self._router.stop()
        self._witness.stop()

    def _tell(self, image: Path) -> None:
        """All that the appliance is given."""
        prefix = str(self._rack.network.prefix)
        endpoint = self._rack.network.prefix[_ENDPOINT]
        self._appliance.command("subnet", "add", prefix, "--gateway", str(self._rack.network.address))
        if image.is_dir():
            self._appliance.command("image", "import", str(image), "--name", IMAGE)
        for name, _, directory in (named.partition("=") for named in self._options.images):
            self._appliance.command("image", "import", directory, "--name", name, "--version", "lab")
        self._appliance.command("cluster", "add", CLUSTER, "--endpoint", f"https://{endpoint}:6443")
        payload = self._options.payload
        for file in sorted(payload.rglob("*")) if payload else ():
            if payload and file.is_file():
                path = file.relative_to(payload).as_posix()
                self._appliance.command("payload", "add", str(file.absolute()), "--path", path)
        for machine in self._rack.machines:
            self._appliance.command(
                *("bmc", "add", machine.bmc_address, "--user", machine.bmc_user, "--password-stdin"),
                data=machine.bmc_password + "\n",
            )

    def _install(self) -> int:
        say, ask = self._board.say, self._appliance.ask
        roles = self._options.role.split(",")
        for result in ask("bmc", "harvest")["result"]:
            say(f"harvest: {result['said']}")
        plan = ask(
            *(
                "allocate",
                "plan",
                str(self._rack.network.prefix),
                "--first",
                str(self._rack.network.prefix[_FIRST]),
            ),
            *("--name", "node-{index:02}", "--role", roles[0]),
        )
        self._appliance.command("allocate", "apply", "-", data=json.dumps(plan))
        for machine in ask("machine", "list"):
            if self._by_bmc[machine["bmc"]].firmware is LabFirmware.UEFI_SECURE:
                # No packet tells that Secure Boot is on: the operator does.
                self._appliance.command("machine", "set", machine["name"], "--labels", f"{LOADER_LABEL}={SHIM}")
        names = [row["name"] for row in plan["rows"]]
        for at, name in enumerate(names):
            # After all have their addresses: what is compiled for one names the others.
            self._appliance.command(
                *("machine", "set", name, "--cluster", CLUSTER, "--role", roles[at % len(roles)])
            )
        if len(names) < len(self._rack.machines):
            raise Refused(
                f"the appliance found {len(names)} of {len(self._rack.machines)} machines behind the BMCs",
                f"look into {self._appliance.log}",
            )
        self._started = time.monotonic()
        for result in ask("machine", "install", *names)["result"]:
            say(f"power: {result['said']}")
        judge = Judge(self._appliance, self._witness, self._rack)
        listed = self._watch(judge)
        verdicts = {row["name"]: judge.verdict(row, self._by_bmc[row["bmc"]]) for row in listed}
        if self._options.power_cycle and not any(verdicts.values()):
            say("all machines arrived; power-cycling them once more")
            verdicts = self._boot_again(judge, listed)
        rows = [self._row(machine, verdicts[machine["name"]]) for machine in listed]
        self._board.final(rows)
        for name, why in verdicts.items():
            if why:
                say(f"{name}: {why}")
        arrived = all(row.state == "active" and not row.note for row in rows)
        say("all machines arrived" if arrived else "not all machines arrived")
        if self._options.json:
            sys.stdout.write(json.dumps({"machines": [_result(row) for row in rows]}) + "\n")
            sys.stdout.flush()
        return 0 if arrived else 1

    def _watch(self, judge: Judge) -> Sequence[Mapping[str, Any]]:
        """Poll until every machine has ended, or cannot any more. Returns the last listing."""
        limit = self._options.timeout or 600 + 120 * len(self._rack.machines)
        while True:
            listed: list[dict[str, Any]] = self._appliance.ask("machine", "list")
            for machine in listed:
                if machine["state"] in _ENDED:
                    self._arrived.setdefault(machine["name"], self._elapsed)
            self._board.show(self._row(machine, "") for machine in listed)
            waiting = [machine for machine in listed if machine["state"] not in _ENDED]
            if not waiting or self._elapsed > limit:
                return listed
            if all(judge.hopeless(machine, self._by_bmc[machine["bmc"]], self._elapsed) for machine in waiting):
                return listed
            if not self._appliance.serving:
                raise Refused(f"the appliance ended: {self._appliance.last_words()}")
            time.sleep(_POLL)

    def _boot_again(self, judge: Judge, listed: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Power-cycle them all; per machine what went wrong, or nothing."""
        since = time.time_ns() // 1000
        self._appliance.command("machine", "power", "cycle", *(str(machine["name"]) for machine in listed))
        until = time.monotonic() + _BOOT_SECONDS * (1 + len(listed) // 2)
        away = list(listed)
        while away and time.monotonic() < until:
            time.sleep(_POLL)
            away = [machine for machine in away if not judge.came_home(self._by_bmc[machine["bmc"]], since)]
        now = {machine["name"]: machine for machine in self._appliance.ask("machine", "list")}
        return {
            before["name"]: judge.second_verdict(before, now[before["name"]], self._by_bmc[before["bmc"]], since)
            for before in listed
        }

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _row(self, machine: Mapping[str, Any], why: str) -> Row:
        return Row(
            name=machine["name"],
            firmware=self._by_bmc[machine["bmc"]].firmware,
            role=machine["role"],
            ip=machine["ip"],
            state=machine["state"],
            phase=machine["phase"],
            percent=machine["percent"],
            seconds=self._arrived.get(machine["name"], self._elapsed),
            note=why,
        )


def _result(row: Row) -> dict[str, Any]:
    """A machine in the closing JSON line of ``lab run --json``; ``error`` only where there is one."""
    told = {
        "name": row.name,
        "state": row.state,
        "ip": row.ip,
        "role": row.role,
        "firmware": row.firmware,
        "seconds": round(row.seconds, 1),
    }
    return {**told, "error": row.note} if row.note else told
