"""Users and their tokens."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, select, update

from provisioner.domain.errors import Conflict
from provisioner.domain.records import ApiToken, User
from provisioner.storage import tables
from provisioner.storage.session import Session, differing, found, refuse_version, uuid_or_none

_TOKEN_FIELDS = ("id", "name", "user_id", "token_hash", "kind", "created_at", "expires_at", "used_at")


class UserRows:
    """Implements ``ports.Repository[User]``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute
        self._table = tables.users

    def find(self, ref: str) -> User | None:
        t = self._table
        row = self._run(select(t).where(t.c.name == ref)).one_or_none()
        if row is None and (user_id := uuid_or_none(ref)):
            row = self._run(select(t).where(t.c.id == user_id)).one_or_none()
        return _user(row) if row else None

    def get(self, ref: str) -> User:
        return found(self.find(ref), "user", ref)

    def list(self) -> Sequence[User]:
        return [_user(row) for row in self._run(select(self._table).order_by(self._table.c.name))]

    def put(self, item: User, expect_version: int | None = None) -> User:
        refuse_version("user", expect_version)
        stored, holder = self.find(str(item.id)), self.find(item.name)
        if holder is not None and holder.id != item.id:
            raise Conflict("user name", item.name, "another user", "choose another name")
        names = ("id", "name", "password_hash", "created_at")
        values = {name: getattr(item, name) for name in names}
        self._session.change("user", item.id)
        if stored is None:
            self._run(insert(self._table), values)
        else:
            self._run(update(self._table).where(self._table.c.id == item.id).values(values))
        fields = differing(stored, item, ("name",))
        if item.password_hash != (stored.password_hash if stored else ""):
            fields["password"] = ["***", "***"]
        self._session.record("put", "user", item.id, item.name, fields)
        return item

    def remove(self, item_id: UUID) -> None:
        """The user's tokens and sessions end with the user."""
        user = self.get(str(item_id))
        self._session.change("user", item_id)
        self._run(delete(self._table).where(self._table.c.id == item_id))
        self._session.record("remove", "user", item_id, user.name, {})


def _user(row: Row[Any]) -> User:
    return User(row.id, row.name, row.password_hash, row.created_at)


class TokenRows:
    """Implements ``ports.Tokens``. Token names need not be unique (sessions have none worth telling apart)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute
        self._table = tables.tokens

    def find(self, ref: str) -> ApiToken | None:
        """By id, else the newest with that name."""
        t = self._table
        newest = select(t).order_by(t.c.created_at.desc(), t.c.id).limit(1)
        token_id = uuid_or_none(ref)
        row = self._run(newest.where(t.c.id == token_id if token_id else t.c.name == ref)).one_or_none()
        return _token(row) if row else None

    def get(self, ref: str) -> ApiToken:
        return found(self.find(ref), "token", ref)

    def by_hash(self, token_hash: str) -> ApiToken | None:
        row = self._run(select(self._table).where(self._table.c.token_hash == token_hash)).one_or_none()
        return _token(row) if row else None

    def list(self) -> Sequence[ApiToken]:
        t = self._table
        return [_token(row) for row in self._run(select(t).order_by(t.c.created_at, t.c.name, t.c.id))]

    def put(self, item: ApiToken, expect_version: int | None = None) -> ApiToken:
        """Noting a use (``used_at``, ``expires_at``) is no edit and leaves no audit row."""
        refuse_version("token", expect_version)
        stored, holder = self.find(str(item.id)), self.by_hash(item.token_hash)
        if holder is not None and holder.id != item.id:
            raise Conflict("token", "(hidden)", f"token {holder.name}", "make a new random token")
        user = select(tables.users.c.id).where(tables.users.c.id == item.user_id)
        found(self._run(user).scalar_one_or_none(), "user", item.user_id)
        values = {name: getattr(item, name) for name in _TOKEN_FIELDS}
        self._session.touch()
        if stored is None:
            self._run(insert(self._table), values)
        else:
            self._run(update(self._table).where(self._table.c.id == item.id).values(values))
        fields = differing(stored, item, ("name", "user_id", "kind"))
        if fields:
            self._session.change("token", item.id)
            self._session.record("put", "token", item.id, item.name, fields)
        return item

    def remove(self, item_id: UUID) -> None:
        token = self.get(str(item_id))
        self._session.change("token", item_id)
        self._run(delete(self._table).where(self._table.c.id == item_id))
        self._session.record("remove", "token", item_id, token.name, {})

    def forget(self, *, before: int, limit: int) -> int:
        """Without an audit row: nobody did it, and nobody could use them any more."""
        t = self._table
        ids = self._run(select(t.c.id).where(t.c.expires_at < before).limit(limit)).scalars().all()
        for token_id in ids:
            self._session.change("token", token_id)
        if ids:
            self._run(delete(t).where(t.c.id.in_(ids)))
        return len(ids)


def _token(row: Row[Any]) -> ApiToken:
    return ApiToken(**{name: getattr(row, name) for name in _TOKEN_FIELDS})
