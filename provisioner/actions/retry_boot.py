"""A machine that hangs on its way to the installer gets another try: its power is switched, at most twice.

Only a machine whose power the operator asked us to switch for this install (``machine install``), and only before
anything of the install could run on it.
"""

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from provisioner.actions.power import enqueue_power_cycle
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import Machine
from provisioner.domain.ports import Store
from provisioner.domain.progress import hangs_in_boot, since_life
from provisioner.domain.spoken import span


def retry_boots(store: Store, ids: Iterable[UUID], *, now: int) -> list[Machine]:
    """Queue a power cycle to the network for those of these machines that hang. The watchdog calls it."""
    tried = []
    with store.transaction("watchdog") as tx:
        for machine in (tx.machines.find(str(machine_id)) for machine_id in ids):
            if machine is None or machine.install is None or not may_retry(machine, now):
                continue
            install = machine.install
            left = install.power_cycles - 1
            why = (
                f"nothing from it for {span(since_life(machine, now))} in phase {install.phase}; "
                f"switching its power for another try, {left} more after this one"
            )
            # Out of every phase until it is seen again: one hang is one power cycle, however long the BMC takes.
            fresh = replace(install, power_cycles=left, phase=None, percent=None, phase_at=now)
            after = replace(machine, install=fresh)
            tx.machines.put_progress(after)
            enqueue_power_cycle(tx, after, now)
            tx.events.add(Event(Kind.BMC_POWER, why, now, machine.id, machine.boot_mac, actor=tx.actor))
            tried.append(after)
    return tried


def may_retry(machine: Machine, now: int) -> bool:
    """Does it hang, with power cycles left?"""
    install = machine.install
    return machine.bmc_id is not None and bool(install and install.power_cycles) and hangs_in_boot(machine, now)
