"""Which login for which BMC: candidates in order, none tried often enough to lock an account.

A BMC's candidates are its own login, then those of the networks it lies in, the narrowest first. One that worked
comes first from then on. A refused one rests for half an hour, and so does the BMC after two refusals: firmware
that locks accounts does so at the third. A try is written down before it is made, so that no second job makes it
too, and a service that dies in the middle again and again makes it twice, not more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from uuid import UUID, uuid4

from provisioner.actions import fields as read
from provisioner.domain.bmc import Bmc, Login, LoginTry
from provisioner.domain.errors import BmcError, InvalidValue, NotFound
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.records import Credential

T = TypeVar("T")
REST = 30 * 60 * SECOND
"""Microseconds before a refused login is tried again."""
UNKNOWN = 2 * 60 * SECOND
"""Microseconds after which a try whose end nobody wrote down is made once more: its process has died."""
MOST_REFUSED = 2
"""Refusals that one BMC may count within ``REST``."""
FIELDS = ("prefix", "user", "password", "position")


def with_login(store: Store, bmc: Bmc, actor: str, clock: Callable[[], int], call: Callable[[Login], T]) -> T:
    """``call`` with the first candidate that this BMC takes. Raises BmcError, and what ``call`` raises."""
    with store.transaction(actor) as tx:
        chosen = choose(tx, bmc, clock())
    result, chosen = attempt(store, bmc, actor, clock, chosen, call)
    with store.transaction(actor) as tx:
        settle(tx, bmc, chosen, clock())
    return result


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate that is to be used now, and whether it has worked there."""

    credential: Credential
    proven: bool

    @property
    def login(self) -> Login:
        return Login(self.credential.user, self.credential.password)


def choose(tx: Transaction, bmc: Bmc, now: int) -> Chosen:
    """The candidate to use; one that has not worked yet is written down as being tried. Raises BmcError."""
    tries = tx.login_tries.at(bmc.id)
    for credential in candidates(tx, bmc):
        if (before := tries.get(credential.id)) and before.outcome == "worked":
            return Chosen(credential, proven=True)
    left = _left(tx, bmc, now)
    if not left:
        raise _exhausted(tx, bmc, now)
    before = tries.get(left[0].id)
    outcome = "again" if before and before.outcome == "trying" else "trying"
    tx.login_tries.put(LoginTry(bmc.id, left[0].id, outcome, now))
    return Chosen(left[0], proven=False)


def attempt(
    store: Store, bmc: Bmc, actor: str, clock: Callable[[], int], chosen: Chosen, call: Callable[[Login], T]
) -> tuple[T, Chosen]:
    """``call`` with the chosen candidate, and if the BMC refuses it with the next; and which one it was.

    Whoever asked ends it with ``settle``. Raises BmcError, and what ``call`` raises.
    """
    while True:
        try:
            return call(chosen.login), chosen
        except BaseException as error:
            if not isinstance(error, BmcError) or error.kind != "wrong-password":
                if not chosen.proven:
                    # It never came to a login, or that was taken and something else failed: no refusal.
                    with store.transaction(actor) as tx:
                        release(tx, bmc, chosen)
                raise
            with store.transaction(actor) as tx:
                tx.login_tries.put(LoginTry(bmc.id, chosen.credential.id, "refused", clock()))
                again = bool(_left(tx, bmc, clock()))
                if again:
                    chosen = choose(tx, bmc, clock())
                    said = f"{error.problem}; {chosen.credential.user} is tried next"
                    tx.events.add(Event(Kind.BMC_ERROR, said, clock()))
            if not again:
                raise


def settle(tx: Transaction, bmc: Bmc, chosen: Chosen, now: int) -> None:
    """It worked: this one comes first from now on."""
    if not chosen.proven:
        tx.login_tries.put(LoginTry(bmc.id, chosen.credential.id, "worked", now))


def release(tx: Transaction, bmc: Bmc, chosen: Chosen) -> None:
    """It was not tried after all."""
    if not chosen.proven:
        tx.login_tries.forget(bmc_id=bmc.id, credential_id=chosen.credential.id)


def candidates(tx: Transaction, bmc: Bmc) -> list[Credential]:
    """All logins that may be meant for this BMC, its own first."""
    own = [] if bmc.credential_id is None else [tx.credentials.get(str(bmc.credential_id))]
    return [*own, *(c for c in tx.credentials.for_address(ip_address(bmc.address)) if c not in own)]


def users(tx: Transaction) -> Callable[[Bmc], list[str]]:
    """The names of each BMC's candidates, in their order; the logins are read once for all BMCs."""
    known = tx.credentials.list()
    own = {c.id: c.user for c in known}
    scoped = sorted(
        (c for c in known if c.prefix), key=lambda c: (-c.prefix.prefixlen if c.prefix else 0, c.position)
    )

    def of(bmc: Bmc) -> list[str]:
        ip = ip_address(bmc.address)
        names = [own[bmc.credential_id]] if bmc.credential_id else []
        return names + [c.user for c in scoped if c.prefix and ip in c.prefix and c.id != bmc.credential_id]

    return of


def _left(tx: Transaction, bmc: Bmc, now: int) -> list[Credential]:
    """Candidates that may be tried now: those never tried first, so that each has its turn."""
    resting, tries = _resting(tx, bmc, now), tx.login_tries.at(bmc.id)
    if len(resting) >= MOST_REFUSED:
        return []
    left = [c for c in candidates(tx, bmc) if c.id not in resting]
    return sorted(left, key=lambda c: tries[c.id].at if c.id in tries else 0)


def _resting(tx: Transaction, bmc: Bmc, now: int) -> Mapping[UUID, LoginTry]:
    tries = tx.login_tries.at(bmc.id)
    return {
        key: each
        for key, each in tries.items()
        if each.outcome != "worked" and each.at > now - (UNKNOWN if each.outcome == "trying" else REST)
    }


def _exhausted(tx: Transaction, bmc: Bmc, now: int) -> BmcError:
    known = {credential.id: credential.user for credential in candidates(tx, bmc)}
    correct = f"`provisioner bmc add {bmc.address} --user U --password-stdin`"
    if not known:
        return BmcError(
            "wrong-password",
            f"BMC {bmc.address} has no login",
            f"{correct}, or for a whole network `provisioner bmc login add PREFIX --user U --password-stdin`",
        )
    tries = _resting(tx, bmc, now)
    users = ", ".join(sorted({known[key] for key in tries if key in known})) or "another login"
    if all(each.outcome == "trying" for each in tries.values()):
        return BmcError(
            "session-limit",
            f"BMC {bmc.address}: another job is trying the login of {users}",
            "try again when it ends",
        )
    until = datetime.fromtimestamp((min(each.at for each in tries.values()) + REST) / SECOND, UTC)
    return BmcError(
        "wrong-password",
        f"BMC {bmc.address} refused the login of {users}; it is not asked again before "
        f"{until:%H:%M} UTC, so that no account locks",
        f"correct it now with {correct}, or wait",
    )


@dataclass(frozen=True, slots=True)
class NetworkLogin:
    """A candidate for a network, as it is shown: without its password."""

    prefix: str
    user: str
    position: int


def put_login(store: Store, fields: Mapping[str, Any], *, actor: str, now: int) -> NetworkLogin:
    """Give a network's BMCs a candidate, or change its password. ``position``: 1 is tried first; default: last."""
    for field in fields:
        if field not in FIELDS:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(FIELDS)}")
    prefix = read.prefix(fields.get("prefix", ""))
    user = read.plain(fields.get("user") or "", "user")
    if not user:
        raise InvalidValue("user", user, "is missing", "name the BMC's user")
    password = str(fields.get("password") or "")
    with store.transaction(actor) as tx:
        others = [c for c in tx.credentials.list() if c.prefix == prefix]
        known = next((c for c in others if c.user == user), None)
        position = read.whole(fields.get("position"), "position", 1, 100) or (
            known.position if known else max((c.position for c in others), default=0) + 1
        )
        name = f"network {prefix} {user}"
        stored = tx.credentials.put(
            Credential(known.id if known else uuid4(), name, user, password, prefix, position)
        )
        tx.login_tries.forget(credential_id=stored.id)
        verb = "changed" if known else "added"
        tx.events.add(Event(Kind.BMC_CHANGED, f"{verb} the login of {user} for BMCs in {prefix}", now, actor=actor))
    return NetworkLogin(str(prefix), user, position)


def remove_login(store: Store, prefix_text: str, user: str, *, actor: str, now: int) -> None:
    """Forget a network's candidate. Raises NotFound."""
    prefix = read.prefix(prefix_text)
    with store.transaction(actor) as tx:
        known = next((c for c in tx.credentials.list() if c.prefix == prefix and c.user == user), None)
        if known is None:
            raise NotFound("login", f"{prefix} {user}", "`provisioner bmc login list` shows what there is")
        tx.credentials.remove(known.id)
        tx.events.add(Event(Kind.BMC_CHANGED, f"removed the login of {user} for {prefix}", now, actor=actor))


def network_logins(tx: Transaction) -> Sequence[NetworkLogin]:
    """All candidates of networks, in the order in which they are tried within each."""
    scoped = [c for c in tx.credentials.list() if c.prefix is not None]
    scoped.sort(key=lambda c: (str(c.prefix), c.position, c.user))
    return [NetworkLogin(str(c.prefix), c.user, c.position) for c in scoped]
