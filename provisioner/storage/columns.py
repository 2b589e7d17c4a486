"""Column types that keep domain values whole on their way into the database and back."""

import base64
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, String, Text
from sqlalchemy.types import JSON, TypeDecorator

from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress
from provisioner.domain.subnet import IPNetwork

Time = BigInteger
"""UTC microseconds."""

Serial = BigInteger().with_variant(Integer, "sqlite")
"""An ordered id that the database counts up; SQLite counts only in a column called INTEGER."""


def storable(text: str) -> str:
    """Text as every database can hold it.

    Reasons and messages come from the wire. PostgreSQL refuses NUL, UTF-8 has no lone surrogates; both are
    written as their escapes, so that a hostile host name cannot stop a batch of events.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


class Words(TypeDecorator[str]):
    """Any text, cleaned by ``storable``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(str(value))


class MacColumn(TypeDecorator[Mac]):
    """A Mac as ``52:54:00:12:34:56``, so that the database can be read by people."""

    impl = String(17)
    cache_ok = True

    def process_bind_param(self, value: Mac | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Mac | None:
        return None if value is None else Mac(bytes.fromhex(value.replace(":", "")))


class AddressColumn(TypeDecorator[IPAddress]):
    """An address of either family in its canonical spelling."""

    impl = String(45)
    cache_ok = True

    def process_bind_param(self, value: IPAddress | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> IPAddress | None:
        return None if value is None else ip_address(value)


class PrefixColumn(TypeDecorator[IPNetwork]):
    """A prefix in CIDR spelling."""

    impl = String(49)
    cache_ok = True

    def process_bind_param(self, value: IPNetwork | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> IPNetwork | None:
        return None if value is None else ip_network(value)


class FilesColumn(TypeDecorator[Mapping[str, bytes]]):
    """A folder's content: JSON of path to base64."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, bytes] | None, dialect: Dialect) -> Any:
        return None if value is None else {name: base64.b64encode(data).decode() for name, data in value.items()}

    def process_result_value(self, value: Any, dialect: Dialect) -> Mapping[str, bytes] | None:
        return None if value is None else {name: base64.b64decode(text) for name, text in value.items()}
