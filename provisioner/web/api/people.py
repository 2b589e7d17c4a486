"""Users and their tokens. Passwords and secrets go in or come out once; only hashes stay."""

from datetime import datetime

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import accounts
from provisioner.domain.records import ApiToken, User
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.api.times import moment, moment_or_none
from provisioner.web.auth import access, actor
from provisioner.web.parts import Parts


class UserOut(BaseModel):
    id: str
    name: str
    has_password: bool
    created_at: datetime


class NewUser(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    password: str = Field(json_schema_extra={"writeOnly": True}, repr=False)


class NewPassword(BaseModel):
    model_config = ConfigDict(extra="forbid")

    password: str = Field(json_schema_extra={"writeOnly": True}, repr=False)


class TokenOut(BaseModel):
    id: str
    name: str
    user_id: str
    created_at: datetime
    expires_at: datetime | None


class NewToken(BaseModel):
    """``user`` left out: the one who asks. ``days`` left out: until it is revoked."""

    model_config = ConfigDict(extra="forbid")

    name: str
    user: str | None = None
    days: float | None = None


class MadeToken(TokenOut):
    """``secret`` is shown now and never again."""

    secret: str


class Users:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[UserOut]:
        """All users."""
        return cut(accounts.users(self._parts.store), lambda user: user.name, after, limit, _user)

    def one(self, ref: str) -> UserOut:
        """By name or id."""
        with self._parts.store.reading() as tx:
            return _user(tx.users.get(ref))

    def add(self, new: NewUser, request: Request, response: Response) -> UserOut:
        """At least ten characters of password."""
        user = accounts.add_user(
            self._parts.store, new.name, new.password, actor=actor(request), now=self._parts.clock()
        )
        response.headers["Location"] = f"/api/v1/users/{user.id}"
        return _user(user)

    def set_password(self, ref: str, new: NewPassword, request: Request) -> UserOut:
        """Also ends the user's sessions."""
        return _user(
            accounts.set_password(
                self._parts.store, ref, new.password, actor=actor(request), now=self._parts.clock()
            )
        )

    def remove(self, ref: str, request: Request) -> None:
        """With all tokens and sessions. Refused for the last one who can log in."""
        accounts.remove_user(self._parts.store, ref, actor=actor(request), now=self._parts.clock())


class Tokens:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[TokenOut]:
        """Bearer tokens, never their secrets."""
        return cut(accounts.tokens(self._parts.store), lambda token: token.name, after, limit, _token)

    def add(self, new: NewToken, request: Request, response: Response) -> MadeToken:
        """A bearer token; its secret is in this answer only."""
        token, secret = accounts.create_token(
            self._parts.store,
            new.user or access(request).user.name,
            new.name,
            actor=actor(request),
            now=self._parts.clock(),
            days=new.days,
        )
        response.headers["Location"] = f"/api/v1/tokens/{token.id}"
        response.headers["Cache-Control"] = "no-store"
        return MadeToken(**_token(token).model_dump(), secret=secret)

    def remove(self, ref: str, request: Request) -> None:
        """Revoke, by name or id."""
        accounts.revoke_token(self._parts.store, ref, actor=actor(request), now=self._parts.clock())


def _user(user: User) -> UserOut:
    return UserOut(
        id=str(user.id),
        name=user.name,
        has_password=bool(user.password_hash),
        created_at=moment(user.created_at),
    )


def _token(token: ApiToken) -> TokenOut:
    return TokenOut(
        id=str(token.id),
        name=token.name,
        user_id=str(token.user_id),
        created_at=moment(token.created_at),
        expires_at=moment_or_none(token.expires_at),
    )
