"""BMCs and their logins into and out of the inventory."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import Conflict, InvalidValue
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import Store
from provisioner.domain.records import Credential

FIELDS = ("address", "port", "protocol", "user", "password", "chassis", "new_certificate")
PROTOCOLS = {"ipmi": 623, "redfish": 443, "cmm": 443, "auto": 623}
"""What can be spoken, and the port of each. ``auto``: the first harvest finds out."""


def add_bmc(
    store: Store, fields: Mapping[str, Any], *, actor: str, now: int, expect_version: int | None = None
) -> Bmc:
    """List a BMC with its login, or set the login of a listed one. The password is encrypted by the store.

    Raises InvalidValue, Conflict, StaleEdit.
    """
    for field in fields:
        if field not in FIELDS:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(FIELDS)}")
    ip = read.bmc_address(fields.get("address", ""))
    with store.transaction(actor) as tx:
        before = tx.bmcs.find(str(ip))
        protocol = fields.get("protocol") or (before.protocol if before else "ipmi")
        if protocol not in PROTOCOLS:
            raise InvalidValue("protocol", protocol, "is not known", f"choose one of {', '.join(PROTOCOLS)}")
        same = before is not None and before.protocol == protocol
        credential_id = before.credential_id if before else None
        if fields.get("user"):
            user, password = read.plain(fields["user"], "user"), str(fields.get("password") or "")
            name = f"bmc {ip}"
            known = tx.credentials.find(name)
            credential_id = tx.credentials.put(Credential(known.id if known else uuid4(), name, user, password)).id
        bmc = Bmc(
            id=before.id if before else uuid4(),
            address=str(ip),
            port=read.whole(fields.get("port"), "port", 1, 65535)
            or (before.port if before and same else PROTOCOLS[protocol]),
            protocol=protocol,
            credential_id=credential_id,
            chassis=read.plain(fields.get("chassis") or (before.chassis if before else ""), "chassis"),
            certificate=before.certificate if before and same and not fields.get("new_certificate") else "",
            version=before.version if before else 0,
        )
        stored = tx.bmcs.put(bmc, expect_version)
        if fields.get("user"):
            # Whoever sets a login wants it tried now.
            tx.login_tries.forget(bmc_id=stored.id)
        verb = "changed" if before else "added"
        tx.events.add(
            Event(Kind.BMC_CHANGED, f"{verb} BMC {ip} ({protocol}, port {stored.port})", now, actor=actor)
        )
        return stored


def remove_bmc(store: Store, ref: str, *, actor: str, now: int, expect_version: int | None = None) -> None:
    """Forget a BMC and its login. Refused while a machine names it. Raises StaleEdit."""
    with store.transaction(actor) as tx:
        bmc = tx.bmcs.get(ref)
        if expect_version is not None:
            tx.bmcs.put(bmc, expect_version)
        for machine in tx.machines.list():
            if machine.bmc_id == bmc.id:
                raise Conflict(
                    "bmc",
                    bmc.address,
                    f"machine {machine.name}",
                    f"`provisioner machine set {machine.name} --bmc ''`",
                )
        tx.bmcs.remove(bmc.id)
        # The blades of a chassis share its manager's login.
        own = tx.credentials.find(str(bmc.credential_id))
        if own and own.prefix is None and all(other.credential_id != bmc.credential_id for other in tx.bmcs.list()):
            tx.credentials.remove(own.id)
        tx.events.add(Event(Kind.BMC_CHANGED, f"removed BMC {bmc.address}", now, actor=actor))
