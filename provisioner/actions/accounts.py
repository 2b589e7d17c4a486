"""People and programs that may ask: users, passwords, sessions, one-time links, bearer tokens.

There is no default password. Every secret that we make has 256 bits and is stored as its sha256 only.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.actions import passwords
from provisioner.domain.errors import Conflict, InvalidValue, NotAdmitted, NotFound, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.records import ApiToken, User
from provisioner.domain.tokens import token_hash

HOUR = 3600 * SECOND
LINK_FOR = 24 * HOUR
SESSION_FOR = 7 * 24 * HOUR
FIRST_USER = "admin"


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, by what. ``actor`` stands in audit and events: ``user:NAME`` or ``token:NAME``."""

    user: User
    actor: str
    token_id: str
    session: bool


def first_login_link(store: Store, now: int) -> str | None:
    """``/login?token=…`` for the first person to set a password, or None once somebody has one.

    Valid for a day and for one use; each call voids the links made before.
    """
    with store.transaction("appliance") as tx:
        users = tx.users.list()
        if any(user.password_hash for user in users):
            return None
        user = users[0] if users else tx.users.put(User(uuid4(), FIRST_USER, created_at=now))
        for old in tx.tokens.list():
            if old.kind == "login-link":
                tx.tokens.remove(old.id)
        return f"/login?token={_grant(tx, user, 'login-link', 'first login', now, LINK_FOR)[1]}"


def login_by_link(store: Store, token: str, now: int, password: str = "") -> str:
    """Use up a one-time link, set the password if one is given, and return a new session's secret.

    Raises NotAdmitted for a link that is unknown, used or too old, InvalidValue for a weak password (the link
    stays good).
    """
    # Hashed before the transaction: it takes as long as many writes.
    hashed = passwords.hashed(password) if password else ""
    with store.transaction("login") as tx:
        link = tx.tokens.by_hash(token_hash(token))
        if link is None or link.kind != "login-link" or link.used_at is not None or not _alive(link, now):
            raise NotAdmitted("this login link is not valid any more", "restart the service for a new one")
        user = tx.users.get(str(link.user_id))
        tx.tokens.put(replace(link, used_at=now))
        if hashed:
            user = tx.users.put(replace(user, password_hash=hashed))
        return _session(tx, user, "by one-time link", now)


def login_by_password(store: Store, name: str, password: str, now: int) -> str:
    """A new session's secret. Raises NotAdmitted, with the same words for a wrong name and a wrong password."""
    with store.reading() as tx:
        user = tx.users.find(name)
    if not passwords.verified(user.password_hash if user else "", password) or user is None:
        shown = name[:60].encode("ascii", "replace").decode()
        with store.transaction("login") as tx:
            tx.events.add(Event(Kind.LOGIN_REFUSED, f"wrong name or password for {shown!r}", now, actor="login"))
        raise NotAdmitted("wrong name or password", "try again, or ask for `provisioner user add`")
    with store.transaction("login") as tx:
        # Looking took a tenth of a second: a password that was changed meanwhile opens nothing any more.
        there = tx.users.find(str(user.id))
        if there is None or there.password_hash != user.password_hash:
            raise NotAdmitted("the password was changed just now", "log in with the new one")
        return _session(tx, there, "by password", now)


def access_by(store: Store, secret: str, kind: str, now: int) -> Access | None:
    """Who holds this secret. ``kind``: session or bearer. None: nobody (unknown, revoked, expired)."""
    with store.reading() as tx:
        token = tx.tokens.by_hash(token_hash(secret))
        if token is None or token.kind != kind or not _alive(token, now):
            return None
        user = tx.users.find(str(token.user_id))
    if user is None:
        return None
    session = kind == "session"
    return Access(user, f"user:{user.name}" if session else f"token:{token.name}", str(token.id), session)


def still_holds(store: Store, access: Access, now: int) -> bool:
    """Is what let somebody in still good? For answers that go on for hours."""
    with store.reading() as tx:
        token = tx.tokens.find(access.token_id)
        return token is not None and _alive(token, now)


def logout(store: Store, secret: str) -> None:
    """End a session; an unknown one is ended already."""
    with store.transaction("login") as tx:
        token = tx.tokens.by_hash(token_hash(secret))
        if token is not None and token.kind == "session":
            tx.tokens.remove(token.id)


def users(store: Store) -> Sequence[User]:
    with store.reading() as tx:
        return tx.users.list()


def add_user(store: Store, name: str, password: str, *, actor: str, now: int) -> User:
    """Raises InvalidValue, Conflict."""
    name = read.label(name, "name", "a user's name", "night-shift")
    hashed = passwords.hashed(password)
    with store.transaction(actor) as tx:
        if tx.users.find(name) is not None:
            raise Conflict("name", name, "another user", "choose another, or remove that one first")
        user = tx.users.put(User(uuid4(), name, hashed, now))
        tx.events.add(Event(Kind.USER_CHANGED, f"added user {name}", now, actor=actor))
        return user


def set_password(store: Store, name: str, password: str, *, actor: str, now: int) -> User:
    """Also ends the user's sessions: whoever knew the old password is out."""
    hashed = passwords.hashed(password)
    with store.transaction(actor) as tx:
        user = tx.users.put(replace(tx.users.get(name), password_hash=hashed))
        for token in tx.tokens.list():
            if token.user_id == user.id and token.kind in ("session", "login-link"):
                tx.tokens.remove(token.id)
        tx.events.add(Event(Kind.USER_CHANGED, f"set the password of {user.name}", now, actor=actor))
        return user


def remove_user(store: Store, ref: str, *, actor: str, now: int) -> None:
    """Removes the user's tokens and sessions too. Refused for the last one who can log in."""
    with store.transaction(actor) as tx:
        user = tx.users.get(ref)
        others = [other for other in tx.users.list() if other.id != user.id and other.password_hash]
        if not others:
            raise Refused(
                f"{user.name} is the last user who can log in", "add another with `provisioner user add` first"
            )
        for token in tx.tokens.list():
            if token.user_id == user.id:
                tx.tokens.remove(token.id)
        tx.users.remove(user.id)
        tx.events.add(Event(Kind.USER_CHANGED, f"removed user {user.name}", now, actor=actor))


def tokens(store: Store) -> Sequence[ApiToken]:
    """Bearer tokens only; sessions and links are not for lists."""
    with store.reading() as tx:
        return [token for token in tx.tokens.list() if token.kind == "bearer"]


def create_token(
    store: Store, user: str, name: str, *, actor: str, now: int, days: float | None = None
) -> tuple[ApiToken, str]:
    """A bearer token for ``user``, and its secret: shown now and never again. ``days`` None: until revoked."""
    name = read.label(name, "name", "a token's name", "nightly-backup")
    if days is not None and not 0 < days <= 3650:
        raise InvalidValue("days", days, "is out of range", "give more than 0 and at most 3650")
    with store.transaction(actor) as tx:
        if any(token.kind == "bearer" and token.name == name for token in tx.tokens.list()):
            raise Conflict("name", name, "another token", "choose another, or revoke that one first")
        lifetime = None if days is None else int(days * 24 * HOUR)
        made = _grant(tx, tx.users.get(user), "bearer", name, now, lifetime)
        tx.events.add(Event(Kind.USER_CHANGED, f"created token {name} of {user}", now, actor=actor))
        return made


def revoke_token(store: Store, ref: str, *, actor: str, now: int) -> None:
    """By name or id. Raises NotFound."""
    with store.transaction(actor) as tx:
        for token in tx.tokens.list():
            if token.kind == "bearer" and ref in (token.name, str(token.id)):
                tx.tokens.remove(token.id)
                tx.events.add(Event(Kind.USER_CHANGED, f"revoked token {token.name}", now, actor=actor))
                return
    raise NotFound("token", ref)


def _session(tx: Transaction, user: User, how: str, now: int) -> str:
    for old in tx.tokens.list():
        if old.kind != "bearer" and not _alive(old, now):
            tx.tokens.remove(old.id)
    secret = _grant(tx, user, "session", "session", now, SESSION_FOR)[1]
    tx.events.add(Event(Kind.LOGIN, f"{user.name} logged in {how}", now, actor=f"user:{user.name}"))
    return secret


def _grant(
    tx: Transaction, user: User, kind: str, name: str, now: int, lifetime: int | None
) -> tuple[ApiToken, str]:
    secret = secrets.token_urlsafe(32)
    expires = None if lifetime is None else now + lifetime
    token = ApiToken(uuid4(), name, user.id, token_hash(secret), kind, created_at=now, expires_at=expires)
    return tx.tokens.put(token), secret


def _alive(token: ApiToken, now: int) -> bool:
    return token.expires_at is None or now < token.expires_at
