"""What a person gets while the database is away: a page that says so, with the last known counts.

Who asks cannot be told without the database, so it shows no more than ``/metrics`` does: counts, no names.
"""

from collections import Counter

from fastapi import Request
from fastapi.responses import HTMLResponse

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.machine import State
from provisioner.web.pages.render import page
from provisioner.web.parts import Parts

_SECONDS = "5"


def away(request: Request, parts: Parts, error: StoreUnavailable) -> HTMLResponse:
    """503 with what is known; the browser asks again by itself."""
    counted = Counter(machine.state for machine in parts.snapshot.inventory.machines.values())
    states = [(state.value, counted[state]) for state in State if counted[state]]
    again = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    answer = page(request, parts, "away.html", status=503, states=states, said=str(error), again=again)
    answer.headers.update({"Retry-After": _SECONDS, "Refresh": _SECONDS})
    return answer
