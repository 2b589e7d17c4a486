"""Passwords as they are kept: argon2id with the library's parameters (RFC 9106, section 4)."""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from provisioner.domain.errors import InvalidValue

SHORTEST = 10
LONGEST = 1000
"""argon2 hashes any length; a megabyte of password is an attack on the processor."""

_HASHER = PasswordHasher()
# 64 MiB a verification: two at once, however many ask.
_HASHING = threading.Semaphore(2)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""Verified for unknown names, so that the time of an answer does not tell who exists."""


def hashed(password: str) -> str:
    """What is stored. Raises InvalidValue for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        why = "is too short" if len(password) < SHORTEST else "is too long"
        raise InvalidValue("password", "…", why, f"use {SHORTEST} to {LONGEST} characters; a phrase is fine")
    with _HASHING:
        return _HASHER.hash(password)


def verified(stored: str, password: str) -> bool:
    """Is it the one? ``stored`` empty: nobody's, and it takes as long to say so."""
    if len(password) > LONGEST:
        return False
    with _HASHING:
        try:
            return _HASHER.verify(stored or _NOBODY, password) and bool(stored)
        except (VerificationError, InvalidHashError):
            return False
