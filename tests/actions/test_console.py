"""Who gets a console: a machine whose BMC takes a login; it stands on the timeline."""

from pathlib import Path

import pytest

from provisioner.actions import console, enrol, logins
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.bmc import Bmc, Login, Power
from provisioner.domain.errors import BmcError, Refused
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}


class Picky:
    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        if login.password != "right":
            raise BmcError("wrong-password", f"BMC {bmc.address} refuses {login.user}", "correct it")
        return Power.ON


def test_the_login_that_works_opens_it_and_the_timeline_tells(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    add_bmc(store, {"address": "10.9.0.1", "user": "old", "password": "wrong"}, **WHO)
    logins.put_login(store, {"prefix": "10.9.0.0/24", "user": "admin", "password": "right"}, **WHO)
    enrol.add_machine(store, {"name": "n1", "mac": "52:54:00:00:00:01", "bmc": "10.9.0.1"}, **WHO)
    enrol.add_machine(store, {"name": "n2", "mac": "52:54:00:00:00:02"}, **WHO)
    bmc, login = console.opened(store, Picky(), "n1", actor="cli:ada", clock=lambda: NOW)  # type: ignore[arg-type]
    assert (bmc.address, login) == ("10.9.0.1", Login("admin", "right"))
    with store.reading() as tx:
        newest = tx.events.list(machine_id=tx.machines.get("n1").id, limit=1)[0]
    assert (newest.kind, newest.actor) == ("bmc.console", "cli:ada")
    with pytest.raises(Refused, match="machine n2 has no BMC"):
        console.opened(store, Picky(), "n2", actor="cli:ada", clock=lambda: NOW)  # type: ignore[arg-type]
