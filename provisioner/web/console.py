"""The boot menu's two ends: showing it, and taking a choice with its password.

iPXE sends a password only when it is asked for one (RFC 7617, by 401). Every other answer is a script, so that the
person at the console reads why nothing happens.
"""

import base64
import binascii
import time

from starlette.requests import Request
from starlette.responses import Response

from provisioner.actions import choose, passwords
from provisioner.actions.deliver import BootAnswer
from provisioner.actions.front import Front
from provisioner.boot.menu import again_script, menu_script
from provisioner.domain.errors import NotAdmitted, Refused
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress
from provisioner.domain.tokens import fill
from provisioner.web.backoff import Backoff

_NO_STORE = {"Cache-Control": "no-store"}


class Console:
    """One for each serving process: the waits after wrong passwords are its own."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._backoff = Backoff()

    def menu(self, answer: BootAnswer, mac: Mac, server: str, now: int) -> bytes:
        """The menu of an answer that has one."""
        machine, shown = answer.machine, answer.shown
        if machine is None or shown is None:
            raise ValueError("an answer without a menu")
        assigned = f"{answer.plan.action}: {answer.plan.reason}"
        script = menu_script(machine.name, mac, assigned, shown.menu, shown.offers).encode()
        given = choose.menu_pass(self._front, machine, now)
        return fill(script, install_token="", machine_token="", server=server, menu_pass=given)

    def chosen(self, request: Request, source: IPAddress, server: str, now: int) -> Response:
        """Carry a choice out, or say why not and show the menu again. Raises NotAdmitted, InvalidValue."""
        given, role, query = request.path_params["given"], request.path_params["role"], request.query_params
        choice = choose.looked_at(self._front, given, role, query, source, now)
        if choice.menu.password_hash:
            password = _password(request)
            if password is None:
                return Response("a password is needed\n", 401, {"WWW-Authenticate": 'Basic realm="boot menu"'})
            try:
                self._check(choice, password, source, now)
            except Refused as refusal:
                return _again(str(refusal), choice.mac, server)
        try:
            return _text(choose.carried_out(self._front, choice, query, source, server, now))
        except NotAdmitted:
            raise
        except Refused as refusal:
            return _again(f"{role} cannot be had: {refusal}", choice.mac, server)

    def _check(self, choice: choose.Choice, password: str, source: IPAddress, now: int) -> None:
        """Raises TooManyAttempts, NotAdmitted."""
        name, asker = choice.machine.name, str(source)
        with self._backoff.attempt(name, asker, time.monotonic()):
            if not passwords.verified(choice.menu.password_hash, password):
                choose.wrong_password(self._front, choice, source, now)
                raise NotAdmitted("wrong password", "try again")


def _password(request: Request) -> str | None:
    """The password of RFC 7617 credentials; None: none were sent, or nothing that can be read."""
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(sent.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return None


def _again(reason: str, mac: Mac, server: str) -> Response:
    return _text(fill(again_script(reason, mac).encode(), install_token="", machine_token="", server=server))


def _text(data: bytes) -> Response:
    return Response(data, media_type="text/plain; charset=utf-8", headers=_NO_STORE)
