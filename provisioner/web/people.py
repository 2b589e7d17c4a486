"""The people's app: API and page behind one gate. Every route of the API is on this screen.

The page's addresses are in ``web.pages``; who may ask at all is decided in ``web.auth``.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.sse import EventSourceResponse

from provisioner.web import auth, pages, problems
from provisioner.web.api.allocations import Allocations
from provisioner.web.api.bmcs import Bmcs
from provisioner.web.api.boot import Boot
from provisioner.web.api.clusters import Clusters
from provisioner.web.api.events import Events
from provisioner.web.api.images import Images
from provisioner.web.api.jobs import Jobs
from provisioner.web.api.live import Live
from provisioner.web.api.machines import Machines
from provisioner.web.api.people import Tokens, Users
from provisioner.web.api.roles import Roles
from provisioner.web.api.saving import Saving
from provisioner.web.api.simulate import Simulate
from provisioner.web.api.slots import Slots
from provisioner.web.api.subnets import Subnets
from provisioner.web.discovery import Discovery
from provisioner.web.health import Health
from provisioner.web.pages.away import away
from provisioner.web.parts import Parts

BODY_LIMIT = 16 * 1024 * 1024
"""An allocation plan of 10,000 machines is 3 MiB."""

_PROBLEM = {
    "model": problems.Problem,
    "content": {problems.MEDIA_TYPE: {}},
    "description": "Why not, and the remedy",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {"default": _PROBLEM, 422: _PROBLEM}


def create_people_app(parts: Parts) -> FastAPI:  # noqa: PLR0915 - one line a route
    """The app for port 8080."""
    machines, slots, subnets, bmcs = Machines(parts), Slots(parts), Subnets(parts), Bmcs(parts)
    boot = Boot(parts)
    images, clusters, saving = Images(parts), Clusters(parts), Saving(parts)
    events, jobs, allocations = Events(parts), Jobs(parts), Allocations(parts)
    users, tokens, roles, health = Users(parts), Tokens(parts), Roles(parts), Health(parts)
    api = _Routes()

    api.add("GET", "/machines", machines.all)
    api.add("POST", "/machines", machines.add, 201)
    api.add("GET", "/machines/{ref}", machines.one)
    api.add("PATCH", "/machines/{ref}", machines.change)
    api.add("POST", "/machines/{ref}/plan", saving.machine)
    api.add("DELETE", "/machines/{ref}", machines.remove, 204)
    api.add("POST", "/machines/{ref}/arm", machines.arm)
    api.add("POST", "/machines/{ref}/disarm", machines.disarm)
    api.add("POST", "/machines/{ref}/release", machines.release)
    api.add("POST", "/machines/{ref}/retire", machines.retire)
    api.add("POST", "/machines/{ref}/restore", machines.restore)
    api.add("POST", "/machines/{ref}/approve", machines.approve)
    api.add("POST", "/machines/{ref}/accept", machines.accept)
    api.add("POST", "/machines/{ref}/install", machines.install, 202)
    api.add("POST", "/machines/{ref}/power", machines.power, 202)
    api.add("POST", "/machines/{ref}/rescue", Live(parts).ask)
    api.add("POST", "/machines/power", machines.power_many, 202)
    api.add("POST", "/machines/{ref}/boot", boot.device, 202)
    api.add("POST", "/machines/{ref}/media", boot.media, 202)
    api.add("GET", "/machines/{ref}/log", machines.log)
    api.add("GET", "/machines/{ref}/simulate", Simulate(parts).one)

    api.add("GET", "/slots", slots.all)
    api.add("POST", "/slots", slots.add, 201)
    api.add("GET", "/slots/{ref}", slots.one)
    api.add("PATCH", "/slots/{ref}", slots.change)
    api.add("POST", "/slots/{ref}/plan", saving.slot)
    api.add("DELETE", "/slots/{ref}", slots.remove, 204)
    api.add("POST", "/slots/{ref}/board", slots.replace_board)

    api.add("GET", "/subnets", subnets.all)
    api.add("POST", "/subnets", subnets.add, 201)
    api.add("GET", "/subnets/{ref:path}", subnets.one)
    api.add("PATCH", "/subnets/{ref:path}", subnets.change)
    api.add("DELETE", "/subnets/{ref:path}", subnets.remove, 204)

    api.add("GET", "/clusters", clusters.all)
    api.add("POST", "/clusters", clusters.add, 201)
    api.add("GET", "/clusters/{ref}", clusters.one)
    api.add("PATCH", "/clusters/{ref}", clusters.change)
    api.add("POST", "/clusters/{ref}/plan", saving.cluster)
    api.add("DELETE", "/clusters/{ref}", clusters.remove, 204)

    api.add("POST", "/bmcs/condition", bmcs.condition, 202)
    api.add("GET", "/bmcs", bmcs.all)
    api.add("POST", "/bmcs", bmcs.add, 201)
    api.add("POST", "/bmcs/harvest", bmcs.harvest, 202)
    api.add("POST", "/bmcs/scan", bmcs.scan, 202)
    api.add("POST", "/bmcs/reconcile", bmcs.reconcile)
    api.add("GET", "/bmcs/contradictions", bmcs.contradictions)
    api.add("GET", "/bmcs/logins", bmcs.logins)
    api.add("POST", "/bmcs/logins", bmcs.add_login, 201)
    api.add("DELETE", "/bmcs/logins", bmcs.remove_login, 204)
    api.add("GET", "/bmcs/{ref}", bmcs.one)
    api.add("PATCH", "/bmcs/{ref}", bmcs.change)
    api.add("DELETE", "/bmcs/{ref}", bmcs.remove, 204)

    api.add("GET", "/images", images.all)
    api.add("POST", "/images/fetch", images.fetch, 202)
    api.add("POST", "/images/import", images.bring_in, 202)
    api.add("GET", "/images/{name}/{version}", images.one)
    api.add("POST", "/images/{name}/{version}/verify", images.verify, 202)
    api.add("DELETE", "/images/{name}/{version}", images.remove, 204)

    api.add("GET", "/roles", roles.all)
    api.add("GET", "/roles/{name}", roles.one)
    api.add("GET", "/roles/{name}/revisions", roles.revisions)
    api.add("GET", "/roles/{name}/plan", roles.plan)
    api.add("POST", "/roles/{name}/activate", roles.activate)
    api.add("POST", "/roles/{name}/follow", roles.follow)
    api.add("POST", "/allocations/plan", allocations.plan)
    api.add("POST", "/allocations/apply", allocations.apply)
    api.add("GET", "/jobs", jobs.all)
    api.add("GET", "/jobs/{ref}", jobs.one)
    api.add("GET", "/events", events.all)
    api.add("GET", "/stream", events.stream, response_class=EventSourceResponse)

    api.add("GET", "/users", users.all)
    api.add("POST", "/users", users.add, 201)
    api.add("GET", "/users/{ref}", users.one)
    api.add("PUT", "/users/{ref}/password", users.set_password)
    api.add("DELETE", "/users/{ref}", users.remove, 204)
    api.add("GET", "/tokens", tokens.all)
    api.add("POST", "/tokens", tokens.add, 201)
    api.add("DELETE", "/tokens/{ref}", tokens.remove, 204)

    app = FastAPI(
        title="Provisioner",
        version=version("provisioner"),
        # The interactive pages load scripts from the internet, which a rack does not have.
        docs_url=None,
        redoc_url=None,
        max_body_size=BODY_LIMIT,
        # Not included: FastAPI analyses the routes of an included router a second time, at the first request.
        routes=[*api.router.routes, *pages.router(parts).routes],
    )
    app.add_api_route("/sd/prometheus", Discovery(parts).targets, methods=["GET"], include_in_schema=False)
    for path, answer in (("/healthz", health.alive), ("/readyz", health.ready), ("/metrics", health.metrics)):
        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
    problems.install(app)
    app.add_middleware(auth.Gate, parts=parts, away=away)
    return app


class _Routes:
    """One line a route; the noun and the verb name the operation in OpenAPI."""

    def __init__(self) -> None:
        self.router = APIRouter(prefix="/api/v1", responses=_ANSWERS)

    def add(self, method: str, path: str, handler: Callable[..., Any], status: int = 200, **more: Any) -> None:
        noun = path.split("/")[1]
        self.router.add_api_route(
            path,
            handler,
            methods=[method],
            status_code=status,
            tags=[noun],
            operation_id=f"{type(getattr(handler, '__self__', None)).__name__.lower()}_{handler.__name__}",
            **more,
        )
