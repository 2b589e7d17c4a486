"""A rack comes up, is really switched by its BMCs, and leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.domain.errors import Refused
from provisioner.lab import record
from provisioner.lab.programs import inside
from provisioner.lab.rack import Rack, RackMachine

pytestmark = pytest.mark.system


def ipmitool(rack: Rack, machine: RackMachine, *words: str) -> str:
    done = subprocess.run(
        inside(
            rack.network.appliance,
            [
                *("ipmitool", "-I", "lanplus", "-C", "3", "-H", machine.bmc_address),
                *("-U", machine.bmc_user, "-P", machine.bmc_password, *words),
            ],
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def traces(name: str) -> list[str]:
    """What a lab of this name has in the system: namespaces, processes, files, its record."""
    found = [str(path) for path in Path("/run/netns").glob(f"{name}*")]
    found += [str(path) for path in Path("/tmp").glob(f"{name}*")]
    found += [lab.name for lab in record.labs() if lab.name == name]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name.encode() in (command := process.read_bytes()):
                found.append(command.decode(errors="replace"))
    return found


def eventually(what: Callable[[], object], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_ipmitool_really_switches_the_machine():
    with Rack(["bios"]) as rack:
        [machine] = rack.machines
        assert not machine.vm.on
        assert ipmitool(rack, machine, "power", "status").strip() == "Chassis Power is off"
        ipmitool(rack, machine, "power", "on")
        pid = machine.vm.pid
        assert pid is not None
        assert b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert ipmitool(rack, machine, "power", "status").strip() == "Chassis Power is on"
        # The firmware runs and looks for the network: the ROM names the NIC's MAC.
        assert eventually(lambda: str(machine.mac).encode() in machine.console_log.read_bytes(), 60)
        ipmitool(rack, machine, "power", "reset")
        pid = machine.vm.pid
        seen = machine.console_log.read_bytes().count(str(machine.mac).encode())
        assert eventually(lambda: machine.console_log.read_bytes().count(str(machine.mac).encode()) > seen, 60), (
            "a reset starts the firmware again"
        )
        ipmitool(rack, machine, "power", "off")
        assert not machine.vm.on
        assert not Path(f"/proc/{pid}").exists()
        ipmitool(rack, machine, "chassis", "bootdev", "pxe")
        assert machine.vm.boot_device == "pxe"


def test_the_fru_names_the_machines_mac_unless_it_is_told_to_lie():
    with Rack(["bios", "bios"], wrong_mac={1}) as rack:
        honest, liar = rack.machines
        assert f"MAC {honest.mac}" in ipmitool(rack, honest, "fru", "print", "0")
        said = ipmitool(rack, liar, "fru", "print", "0")
        assert "MAC " in said
        assert str(liar.mac) not in said


def test_nothing_is_left_behind_and_the_logs_stay_where_asked(tmp_path):
    with Rack(["bios", "uefi"], tmp_path / "rack") as rack:
        for machine in rack.machines:
            ipmitool(rack, machine, "power", "on")
        assert len(list(Path("/run/netns").glob(f"{rack.name}*"))) == 3
        names = [str(machine.vm.pid) for machine in rack.machines]
    assert traces(rack.name) == []
    assert not any(Path("/proc", pid).exists() for pid in names)
    assert (tmp_path / "rack" / "bios-1" / "console.log").exists()
    rack.down()


def test_an_exception_inside_takes_the_rack_down():
    rack = Rack(["bios"])
    with pytest.raises(ZeroDivisionError), rack:
        rack.machines[0].vm.start()
        raise ZeroDivisionError
    assert traces(rack.name) == []


def test_a_rack_that_cannot_be_built_takes_down_what_there_is(monkeypatch):
    rack = Rack(["bios", "bios"])
    # The address of the second BMC is taken already: building fails half way.
    add_bmc = type(rack.network).add_bmc
    monkeypatch.setattr(type(rack.network), "add_bmc", lambda network, index: add_bmc(network, 0))
    with pytest.raises(Refused):
        rack.up()
    assert traces(rack.name) == []


def test_two_racks_at_once_do_not_meet():
    with Rack(["bios"]) as one, Rack(["bios"]) as two:
        [a], [b] = one.machines, two.machines
        assert a.bmc_address == b.bmc_address
        ipmitool(one, a, "power", "on")
        assert a.vm.on
        assert not b.vm.on
        assert ipmitool(two, b, "power", "status").strip() == "Chassis Power is off"
    assert traces(one.name) + traces(two.name) == []


def test_there_is_no_way_out():
    with Rack(["bios"]) as rack:
        for namespace in rack.network.namespaces:
            routes = subprocess.run(["ip", "-n", namespace, "route"], capture_output=True, text=True, check=True)
            assert "default" not in routes.stdout


OWNER = """
import sys, time
from provisioner.lab.rack import Rack
with Rack(["bios"]) as rack:
    rack.machines[0].vm.start()
    print(rack.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_lab_whose_process_ends_is_gone_at_once_or_with_the_next_lab(ending):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert owner.stdout is not None
        name = owner.stdout.readline().strip()
        assert len(traces(name)) >= 5
        os.kill(owner.pid, ending)
        owner.wait(30)
        if ending is signal.SIGKILL:
            with Rack(["bios"]):
                pass
        assert traces(name) == []
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
