"""Templates to HTML. Everything that comes from a machine or a person is escaped; an undefined name is an error."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from provisioner.actions.passwords import SHORTEST
from provisioner.domain import spoken
from provisioner.web import auth
from provisioner.web.pages.train import summary
from provisioner.web.parts import Parts

_WEB = Path(__file__).parent.parent
STATIC = _WEB / "static"

_templates = Environment(
    loader=FileSystemLoader(_WEB / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@cache
def _asset(name: str) -> str:
    """The address of a static file; it changes with the content, so that browsers may keep it for ever."""
    path = STATIC / name
    content = path.read_bytes() if path.exists() else b""
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


_templates.globals.update(asset=_asset, spoken=spoken, summary=summary, min_password=SHORTEST)


def _capitalize_first(text: str) -> str:
    """Unlike Jinja's ``capitalize`` it leaves the rest alone: names and paths are in it."""
    return text[:1].upper() + text[1:]


def _commands(text: str) -> Markup:
    """What stands between backticks, as code; all of it escaped first."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _typed(command: str) -> Markup:
    """A command to be typed, and copied by a click. A line breaks between its words only: not behind a hyphen."""
    words = Markup(" ").join(Markup("<span>{}</span>").format(word) for word in command.split())
    return Markup('<button type="button" class="copy typed mono" title="Copy">{}</button>').format(words)


_templates.filters["typed"] = _typed
_templates.filters["capitalize_first"] = _capitalize_first
_templates.filters["commands"] = _commands


def fragment(template: str, **values: Any) -> str:
    """A piece of a page."""
    return _templates.get_template(template).render(**values)


def page(
    request: Request, parts: Parts, template: str, *, status: int = 200, here: str = "", **values: Any
) -> HTMLResponse:
    """A whole page, or a piece of one that knows who asks."""
    access = getattr(request.state, "access", None)
    inventory = parts.snapshot.inventory
    wires = [
        (name, address, subnet.prefix if (subnet := inventory.subnet_of(address)) else "")
        for name, address in parts.wires
    ]
    html = fragment(
        template,
        user=access.user.name if access else "",
        csrf=auth.csrf_token(request),
        wires=wires if access else [],
        here=here,
        **values,
    )
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store", "Vary": "HX-Request"})
