"""Open a machine's serial console: who may, with which login, and that it stands on the timeline."""

from collections.abc import Callable

from provisioner.actions import logins
from provisioner.domain.bmc import Bmc, Login, Power
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import BmcPort, Store


def opened(store: Store, port: BmcPort, ref: str, *, actor: str, clock: Callable[[], int]) -> tuple[Bmc, Login]:
    """The BMC of this machine and a login that it takes, tried by asking for the power state.

    Raises NotFound, Refused (no BMC, a chassis manager), BmcError.
    """
    with store.transaction(actor) as tx:
        machine = tx.machines.get(ref)
        if machine.bmc_id is None:
            raise Refused(
                f"machine {machine.name} has no BMC", f"`provisioner machine set {machine.name} --bmc ADDRESS`"
            )
        bmc = tx.bmcs.get(str(machine.bmc_id))
        chosen = logins.choose(tx, bmc, clock())
    _, chosen = logins.attempt(store, bmc, actor, clock, chosen, lambda login: port.power(bmc, login, Power.STATUS))
    with store.transaction(actor) as tx:
        logins.settle(tx, bmc, chosen, clock())
        said = f"console opened over BMC {bmc.address}"
        tx.events.add(Event(Kind.BMC_CONSOLE, said, clock(), machine.id, machine.boot_mac, actor=actor))
    return bmc, chosen.login
