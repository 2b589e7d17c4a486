"""What is typed at a console: bytes for the server, and the escape sequence for us. Pure.

As OpenSSH and ipmitool have it, at the start of a line: ``~.`` ends, ``~B`` sends a break, ``~?`` helps, ``~~`` is
one tilde.
"""

from dataclasses import dataclass

HELP = b"\r\n~. ends the console, ~B sends a break, ~~ types ~\r\n"
_NEWLINES = b"\r\n"


@dataclass(frozen=True, slots=True)
class Typed:
    """``send`` goes to the server, then ``act``: '', end, break or help."""

    send: bytes
    act: str = ""


class Keys:
    """Knows where in a line the typist is; a sequence may arrive in pieces."""

    def __init__(self) -> None:
        self._at_start = True
        self._tilde = False

    def typed(self, data: bytes) -> list[Typed]:
        """In order; consecutive plain bytes are one piece."""
        pieces: list[Typed] = []
        plain = bytearray()

        def act(name: str) -> None:
            pieces.append(Typed(bytes(plain), name))
            plain.clear()

        for byte in data:
            if self._tilde:
                self._tilde = False
                match bytes([byte]):
                    case b".":
                        act("end")
                    case b"B" | b"b":
                        act("break")
                    case b"?":
                        act("help")
                    case b"~":
                        plain += b"~"
                    case _:
                        plain += b"~" + bytes([byte])
                self._at_start = byte in _NEWLINES
            elif self._at_start and byte == ord("~"):
                self._tilde = True
            else:
                plain.append(byte)
                self._at_start = byte in _NEWLINES
        if plain:
            act("")
        return pieces
