"""How logins at BMCs ended: what keeps a wrong one from being tried until the account locks."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import delete, insert, select

from provisioner.domain.bmc import LoginTry
from provisioner.storage.session import Session
from provisioner.storage.tables import login_tries as table


class LoginTryRows:
    """Implements ``ports.LoginTries``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def at(self, bmc_id: UUID) -> Mapping[UUID, LoginTry]:
        rows = self._run(select(table).where(table.c.bmc_id == bmc_id))
        return {row.credential_id: LoginTry(row.bmc_id, row.credential_id, row.outcome, row.at) for row in rows}

    def put(self, login_try: LoginTry) -> None:
        self.forget(bmc_id=login_try.bmc_id, credential_id=login_try.credential_id)
        values = {name: getattr(login_try, name) for name in ("bmc_id", "credential_id", "outcome", "at")}
        self._run(insert(table), values)

    def forget(self, *, bmc_id: UUID | None = None, credential_id: UUID | None = None) -> None:
        self._session.touch()
        gone = delete(table)
        if bmc_id is not None:
            gone = gone.where(table.c.bmc_id == bmc_id)
        if credential_id is not None:
            gone = gone.where(table.c.credential_id == credential_id)
        self._run(gone)
