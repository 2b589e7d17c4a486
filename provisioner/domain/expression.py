"""Addresses by arithmetic, like ``10.12.1.((b3-202)*28 + b4)``: four octets, each a whole-number expression.

A parser of its own, no ``eval``: numbers, the names in ``NAMES``, ``+ - * / %`` and parentheses. Division rounds
down and ``%`` has the sign of its right side, as in Python.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NoReturn

from provisioner.domain.errors import InvalidValue

NAMES = {
    "b1": "first octet of the BMC's address",
    "b2": "second octet of the BMC's address",
    "b3": "third octet of the BMC's address",
    "b4": "fourth octet of the BMC's address",
    "index": "place in slot order, from 1",
    "unit": "height unit of the slot",
    "blade": "blade of the slot",
}
"""What an expression may name."""

_LONGEST = 200
_DEEPEST = 20
"""Nested parentheses; nobody reads more, and the parser's own stack stays shallow."""
_TOKEN = re.compile(r"\s*(?:([0-9]{1,9})|([a-z]\w*)|([-+*/%().]))")

Values = Mapping[str, int]
_Term = Callable[[Values], int]


class NoValue(Exception):
    """This machine has no value for the expression; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class AddressExpression:
    """A parsed expression. ``text`` is what the operator wrote."""

    text: str
    octets: tuple[_Term, _Term, _Term, _Term]
    names: frozenset[str]
    """Names that it uses."""

    def address(self, values: Values) -> IPv4Address:
        """The address for one machine. Raises NoValue when a name has no value or an octet does not fit."""
        found = []
        for position, octet in enumerate(self.octets, start=1):
            try:
                number = octet(values)
            except KeyError as missing:
                name = missing.args[0]
                raise NoValue(f"has no {name} ({NAMES[name]})") from None
            except ZeroDivisionError:
                raise NoValue(f"divides by zero in octet {position}") from None
            if not 0 <= number <= 255:
                raise NoValue(f"octet {position} comes out as {number}, which is not 0 to 255")
            found.append(number)
        return IPv4Address(bytes(found))


def parse(text: str, field: str = "expression") -> AddressExpression:
    """Read an expression. Raises InvalidValue that names the place where it stops making sense."""
    reader = _Reader(text.strip(), field)
    octets = [reader.sum()]
    while reader.take("."):
        octets.append(reader.sum())
    if reader.token:
        reader.fail(f"cannot be read from {reader.rest!r} on")
    if len(octets) != 4:
        reader.fail(f"has {len(octets)} octets, not 4")
    return AddressExpression(reader.text, (octets[0], octets[1], octets[2], octets[3]), frozenset(reader.names))


class _Reader:
    """Recursive descent over the tokens; each method returns the function that computes what it read."""

    def __init__(self, text: str, field: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self._field = field
        self._depth = 0
        self._tokens: list[tuple[str, int]] = []
        if len(text) > _LONGEST:
            self.fail(f"is longer than {_LONGEST} characters")
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self.fail(f"cannot be read from {text[at:]!r} on")
            self._tokens.append((found[0].strip(), at))
            at = found.end()
        self._next = 0

    @property
    def token(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    @property
    def rest(self) -> str:
        return self.text[self._tokens[self._next][1] :].strip() if self.token else ""

    def take(self, *wanted: str) -> str:
        """The token if it is one of these, else nothing."""
        found = self.token
        if found and found in wanted:
            self._next += 1
            return found
        return ""

    def fail(self, why: str) -> NoReturn:
        raise self._refusal(why)

    def _refusal(self, why: str) -> InvalidValue:
        remedy = f"write it like 10.12.1.((b3-202)*28 + b4); names: {', '.join(NAMES)}"
        return InvalidValue(self._field, self.text[:_LONGEST], why, remedy)

    def sum(self) -> _Term:
        value = self._product()
        while sign := self.take("+", "-"):
            value = _applied(sign, value, self._product())
        return value

    def _product(self) -> _Term:
        value = self._factor()
        while sign := self.take("*", "/", "%"):
            value = _applied(sign, value, self._factor())
        return value

    def _factor(self) -> _Term:
        self._depth += 1
        if self._depth > _DEEPEST:
            self.fail(f"is nested deeper than {_DEEPEST}")
        try:
            return self._atom()
        finally:
            self._depth -= 1

    def _atom(self) -> _Term:
        if self.take("-"):
            inner = self._factor()
            return lambda values: -inner(values)
        if self.take("("):
            value = self.sum()
            if not self.take(")"):
                self.fail(f"lacks a ')' before {self.rest!r}" if self.rest else "lacks a ')' at its end")
            return value
        token = self.token
        if token.isdecimal():
            self._next += 1
            number = int(token)
            return lambda _: number
        if token in NAMES:
            self._next += 1
            self.names.add(token)
            return lambda values: values[token]
        if token and token[0].isalpha():
            self.fail(f"names {token!r}, which is not known")
        where = f"lacks a number or name before {self.rest!r}" if token else "ends where a number or name should be"
        raise self._refusal(where)


def _applied(sign: str, left: _Term, right: _Term) -> _Term:
    match sign:
        case "+":
            return lambda values: left(values) + right(values)
        case "-":
            return lambda values: left(values) - right(values)
        case "*":
            return lambda values: left(values) * right(values)
        case "/":
            return lambda values: left(values) // right(values)
        case _:
            return lambda values: left(values) % right(values)
