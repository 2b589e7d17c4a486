"""How a value from the inventory enters a text that something will interpret: YAML, a shell, iPXE.

Values are data. Each function returns text that stands for exactly that value in its place, or raises
ValueError with the reason; none of them ever drops or changes a character silently. The one exception is
``screen_text``, which is for human eyes only.
"""

import re
import shlex
from collections.abc import Mapping

_YAML_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_IPXE_SPECIAL = re.compile(r"""[^ -~]|[$"'\\#|&{}`]""")
_PLAIN_FOR_SCREEN = str.maketrans(
    {"'": "`", '"': "`", "’": "`", "–": "-", "—": "-", "→": ">", "&": "+", "|": "/", "\n": " ", "\t": " "}
)


def yaml_scalar(value: object) -> str:
    """A YAML 1.1 and 1.2 scalar: strings double-quoted; numbers, booleans and null as they are.

    Lists and mappings come out in flow style. NUL and lone surrogates are refused: YAML can't carry them.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(_yaml_character(c) for c in value) + '"'
        case Mapping():
            pairs = (f"{yaml_scalar(str(key))}: {yaml_scalar(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list() | tuple():
            return "[" + ", ".join(yaml_scalar(item) for item in value) + "]"
        case _:
            raise ValueError(f"a value of type {type(value).__name__} cannot be written as YAML")


def _yaml_character(c: str) -> str:
    code = ord(c)
    if c in _YAML_ESCAPES:
        return _YAML_ESCAPES[c]
    if 0x20 <= code < 0x7F:
        return c
    if code == 0 or 0xD800 <= code < 0xE000:
        raise ValueError(f"the character U+{code:04X} cannot be written as YAML")
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def shell_word(value: object) -> str:
    """One word for a POSIX shell; a list becomes several. Control characters are refused, newlines included:
    nothing that a machine is told on a command line needs them, and line-based readers would see two lines.
    """
    if isinstance(value, list | tuple):
        return " ".join(shell_word(item) for item in value)
    text = _text(value)
    if found := _CONTROL.search(text):
        raise ValueError(f"the control character U+{ord(found[0]):04X} does not belong on a shell command line")
    return shlex.quote(text)


def preseed_value(value: object) -> str:
    """The value of a preseed line, which ends with its line; control characters and a backslash at the end
    (it would go on) are refused, and so are blanks around it, which debconf drops.
    """
    text = _text(value)
    if found := _CONTROL.search(text):
        raise ValueError(f"the control character U+{ord(found[0]):04X} does not belong on a preseed line")
    if text.endswith("\\") or text != text.strip():
        raise ValueError("a preseed value cannot end in a backslash, nor begin or end with a blank")
    return text


def ipxe_text(value: object) -> str:
    """Text that iPXE takes literally. iPXE has no quoting that stops ``${``, so what it would interpret is
    refused: quotes, backslash, ``$ { } # | &`` and everything outside printable ASCII.
    """
    text = _text(value)
    if found := _IPXE_SPECIAL.search(text):
        raise ValueError(f"the character {found[0]!r} would be interpreted by iPXE")
    return text


def ipxe_argument(value: object) -> str:
    """As ``ipxe_text``, for one argument: blanks are refused too, and it must not be empty."""
    text = ipxe_text(value)
    if not text or " " in text:
        raise ValueError("must be one word without blanks")
    return text


def screen_text(text: str) -> str:
    """Any text made harmless for an iPXE ``echo``: what iPXE would interpret is replaced by ``?``."""
    return _IPXE_SPECIAL.sub(lambda m: "`" if m[0] == "`" else "?", text.translate(_PLAIN_FOR_SCREEN))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"a value of type {type(value).__name__} is not text")
