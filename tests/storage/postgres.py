"""A PostgreSQL server of the tests' own: Debian's, in a temporary directory, on a unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Debian keeps the server's programs off PATH, one directory a version."""


class PostgresServer:
    """Started on entry, stopped and removed on exit."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: a socket's path may have 107 bytes, and postgres may not run as root.
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg-{os.getpid()}-"))
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", "--pgdata", self.data, "--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8"
            )
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=60"
        self._run(
            "pg_ctl", "start", "-w", "-t", "30", "-D", self.data, "-l", str(self.folder / "log"), "-o", options
        )

    def stop(self) -> None:
        """Cut every connection, as a crash of the host would."""
        self._run("pg_ctl", "stop", "-w", "-t", "30", "-D", self.data, "-m", "immediate", check=False)

    def url(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template0") -> str:
        """A new database's URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def _run(self, program: str, *args: str, check: bool = True) -> None:
        assert PROGRAMS is not None, "PostgreSQL is not installed: `make setup`"
        subprocess.run(
            [str(PROGRAMS / program), *args],
            user=self.user if os.geteuid() == 0 else None,
            cwd=self.folder,
            check=check,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Not a pipe: the server inherits it and keeps it open.
            stderr=subprocess.DEVNULL,
        )
