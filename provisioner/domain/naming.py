"""Host names by pattern, like ``core-{rack}-{index:02}``. No format language: five fields, optional digits."""

import re
from collections import Counter

from provisioner.domain.errors import InvalidValue
from provisioner.domain.machine import Machine

FIELDS = ("index", "rack", "chassis", "unit", "blade")
_FIELD = re.compile(r"\{(index|rack|chassis|unit|blade)(?::0?([1-9]))?\}")
_LITERAL = re.compile(r"[a-z0-9-]*\Z")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class NoName(Exception):
    """The pattern gives this machine no host name; ``str()`` says why."""


class NamePattern:
    """Names machines in the order in which it is asked.

    ``{index}`` counts, from 1, the machines that share the rest of the name: with ``{rack}`` in the pattern it
    starts anew in each rack. ``:02`` pads a number with zeros.
    """

    def __init__(self, pattern: str) -> None:
        """Raises InvalidValue for what is no pattern."""
        if not _LITERAL.match(_FIELD.sub("", pattern)) or not pattern:
            raise InvalidValue(
                "name pattern",
                pattern,
                "is not understood",
                "write it like node-{index:02} or core-{rack}-{unit:02}; fields: " + ", ".join(FIELDS),
            )
        self.pattern = pattern
        self._counts: Counter[str] = Counter()

    def name(self, machine: Machine) -> str:
        """The next machine's name. Raises NoName when its slot lacks a field, or no host name comes out."""
        slot = machine.slot
        without_index = _FIELD.sub(lambda found: self._field(machine, found), self.pattern)
        self._counts[without_index] += 1
        index = self._counts[without_index]
        name = _FIELD.sub(lambda found: str(index).zfill(int(found[2] or 1)), without_index)
        if not _HOST_LABEL.match(name):
            raise NoName(f"the pattern gives {slot.name} the name {name!r}, which is no host name")
        return name

    def _field(self, machine: Machine, found: re.Match[str]) -> str:
        if found[1] == "index":
            return found[0]
        value = getattr(machine.slot, found[1])
        if value is None or value == "":
            raise NoName(f"the pattern wants a {found[1]}, which {machine.name} has not")
        if isinstance(value, int):
            return str(value).zfill(int(found[2] or 1))
        # "Rack 1" becomes rack-1: a name must be a DNS label.
        return _NOT_IN_NAMES.sub("-", str(value).lower()).strip("-")
