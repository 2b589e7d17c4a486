"""Smaller records that storage keeps: credentials, role revisions, jobs, users, tokens, phases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from provisioner.domain.machine import Phase
from provisioner.domain.subnet import IPNetwork


@dataclass(frozen=True, slots=True)
class Credential:
    """A BMC login by name. ``password`` is plain only in memory; storage encrypts it."""

    id: UUID
    name: str
    user: str
    password: str = field(repr=False)
    prefix: IPNetwork | None = None
    """Set: a candidate for every BMC in this network; else it is one BMC's own."""
    position: int = 0
    """Order among the candidates of one prefix."""


@dataclass(frozen=True, slots=True)
class RoleRevision:
    """One content of a role folder, kept so that installed machines can be compared with today's."""

    role: str
    revision: str
    files: Mapping[str, bytes]
    created_at: int


@dataclass(frozen=True, slots=True)
class RoleActivation:
    """The revision of a role that arming uses, whatever its folder holds meanwhile."""

    role: str
    revision: str
    at: int
    """UTC microseconds."""
    actor: str


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """When an install reached a phase; feeds the phase train."""

    install_id: UUID
    phase: Phase
    first_at: int
    last_at: int
    percent: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """Long work. ``state``: queued, running, done, failed, partly. Leased, so that a dead worker's job resumes."""

    id: UUID
    kind: str
    """power, install, boot-device, media, harvest, condition, scan; image-fetch, image-import, image-verify."""
    args: Mapping[str, Any]
    actor: str
    created_at: int
    state: str = "queued"
    lease_until: int = 0
    done: int = 0
    total: int = 0
    result: Mapping[str, Any] = field(default_factory=dict)
    """Per machine name: what came of it."""


@dataclass(frozen=True, slots=True)
class User:
    """A person. ``password_hash`` is argon2id; empty: cannot log in by password yet."""

    id: UUID
    name: str
    password_hash: str = field(default="", repr=False)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token (or a one-time login link, or a browser session), stored as its sha256."""

    id: UUID
    name: str
    user_id: UUID
    token_hash: str = field(repr=False)
    kind: str = "bearer"
    """bearer, login-link or session."""
    created_at: int = 0
    expires_at: int | None = None
    used_at: int | None = None
