"""What pydantic says of a value that does not fit, in plain words: for settings, and for options of commands."""

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "string_type": "is not text; put it in quotes",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "path_type": "is not a path; put it in quotes",
    "ip_v4_address": "is not an IPv4 address; write it like 10.12.1.2",
    "greater_than": "is too small; give more than {gt:g}",
    "greater_than_equal": "is too small; give at least {ge:g}",
    "less_than": "is too large; give less than {lt:g}",
    "less_than_equal": "is too large; give at most {le:g}",
    "literal_error": "is not a choice; choose {expected}",
}


def misfit(detail: Mapping[str, Any]) -> str:
    """The end of a sentence that began with field and value. ``detail``: one of ``ValidationError.errors()``."""
    if words := _WORDS.get(detail["type"]):
        return words.format(**detail.get("ctx", {}))
    said = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return said[:1].lower() + said[1:]
