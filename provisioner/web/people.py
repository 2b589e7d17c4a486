"""The people's app: API and page behind one gate. Every route of the API is on this screen.

The page's addresses are in ``web.pages``; who may ask at all is decided in ``web.auth``.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
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


class _Routes:
    """One line a route, analysed once a process; the noun and the verb name the operation in OpenAPI."""

    def __init__(self, *nouns: type) -> None:
        self.router = APIRouter(prefix="/api/v1", responses=_ANSWERS)
        self.nouns = nouns

    def add(self, method: str, path: str, verb: Callable[..., Any], status: int = 200, **more: Any) -> None:
        noun = verb.__qualname__.partition(".")[0]
        self.router.add_api_route(
            path,
            _spoken_by(noun, verb),
            methods=[method],
            status_code=status,
            tags=[path.split("/")[1]],
            operation_id=f"{noun.lower()}_{verb.__name__}",
            **more,
        )


def _spoken_by(noun: str, verb: Callable[..., Any]) -> Callable[..., Any]:
    """``verb`` as FastAPI reads it: its ``self`` is the noun of the app that is asked, not a value that is sent."""

    async def own(request: Request) -> Any:
        return request.app.state.nouns[noun]

    declared = inspect.signature(verb)
    myself, *said = declared.parameters.values()
    whose = myself.replace(annotation=Annotated[Any, Depends(own)])
    setattr(verb, "__signature__", declared.replace(parameters=[whose, *said]))  # noqa: B010 - mypy knows it not
    return verb


_API = _Routes(
    Allocations,
    Bmcs,
    Boot,
    Clusters,
    Events,
    Images,
    Jobs,
    Live,
    Machines,
    Roles,
    Saving,
    Simulate,
    Slots,
    Subnets,
    Tokens,
    Users,
)

_API.add("GET", "/machines", Machines.all)
_API.add("POST", "/machines", Machines.add, 201)
_API.add("GET", "/machines/{ref}", Machines.one)
_API.add("PATCH", "/machines/{ref}", Machines.change)
_API.add("POST", "/machines/{ref}/plan", Saving.machine)
_API.add("DELETE", "/machines/{ref}", Machines.remove, 204)
_API.add("POST", "/machines/{ref}/arm", Machines.arm)
_API.add("POST", "/machines/{ref}/disarm", Machines.disarm)
_API.add("POST", "/machines/{ref}/release", Machines.release)
_API.add("POST", "/machines/{ref}/retire", Machines.retire)
_API.add("POST", "/machines/{ref}/restore", Machines.restore)
_API.add("POST", "/machines/{ref}/approve", Machines.approve)
_API.add("POST", "/machines/{ref}/accept", Machines.accept)
_API.add("POST", "/machines/{ref}/install", Machines.install, 202)
_API.add("POST", "/machines/{ref}/power", Machines.power, 202)
_API.add("POST", "/machines/{ref}/rescue", Live.ask)
_API.add("POST", "/machines/power", Machines.power_many, 202)
_API.add("POST", "/machines/{ref}/boot", Boot.device, 202)
_API.add("POST", "/machines/{ref}/media", Boot.media, 202)
_API.add("GET", "/machines/{ref}/log", Machines.log)
_API.add("GET", "/machines/{ref}/simulate", Simulate.one)

_API.add("GET", "/slots", Slots.all)
_API.add("POST", "/slots", Slots.add, 201)
_API.add("GET", "/slots/{ref}", Slots.one)
_API.add("PATCH", "/slots/{ref}", Slots.change)
_API.add("POST", "/slots/{ref}/plan", Saving.slot)
_API.add("DELETE", "/slots/{ref}", Slots.remove, 204)
_API.add("POST", "/slots/{ref}/board", Slots.replace_board)

_API.add("GET", "/subnets", Subnets.all)
_API.add("POST", "/subnets", Subnets.add, 201)
_API.add("GET", "/subnets/{ref:path}", Subnets.one)
_API.add("PATCH", "/subnets/{ref:path}", Subnets.change)
_API.add("DELETE", "/subnets/{ref:path}", Subnets.remove, 204)

_API.add("GET", "/clusters", Clusters.all)
_API.add("POST", "/clusters", Clusters.add, 201)
_API.add("GET", "/clusters/{ref}", Clusters.one)
_API.add("PATCH", "/clusters/{ref}", Clusters.change)
_API.add("POST", "/clusters/{ref}/plan", Saving.cluster)
_API.add("DELETE", "/clusters/{ref}", Clusters.remove, 204)

_API.add("POST", "/bmcs/condition", Bmcs.condition, 202)
_API.add("GET", "/bmcs", Bmcs.all)
_API.add("POST", "/bmcs", Bmcs.add, 201)
_API.add("POST", "/bmcs/harvest", Bmcs.harvest, 202)
_API.add("POST", "/bmcs/scan", Bmcs.scan, 202)
_API.add("POST", "/bmcs/reconcile", Bmcs.reconcile)
_API.add("GET", "/bmcs/contradictions", Bmcs.contradictions)
_API.add("GET", "/bmcs/logins", Bmcs.logins)
_API.add("POST", "/bmcs/logins", Bmcs.add_login, 201)
_API.add("DELETE", "/bmcs/logins", Bmcs.remove_login, 204)
_API.add("GET", "/bmcs/{ref}", Bmcs.one)
_API.add("PATCH", "/bmcs/{ref}", Bmcs.change)
_API.add("DELETE", "/bmcs/{ref}", Bmcs.remove, 204)

_API.add("GET", "/images", Images.all)
_API.add("POST", "/images/fetch", Images.fetch, 202)
_API.add("POST", "/images/import", Images.bring_in, 202)
_API.add("GET", "/images/{name}/{version}", Images.one)
_API.add("POST", "/images/{name}/{version}/verify", Images.verify, 202)
_API.add("DELETE", "/images/{name}/{version}", Images.remove, 204)

_API.add("GET", "/roles", Roles.all)
_API.add("GET", "/roles/{name}", Roles.one)
_API.add("GET", "/roles/{name}/revisions", Roles.revisions)
_API.add("GET", "/roles/{name}/plan", Roles.plan)
_API.add("POST", "/roles/{name}/activate", Roles.activate)
_API.add("POST", "/roles/{name}/follow", Roles.follow)
_API.add("POST", "/allocations/plan", Allocations.plan)
_API.add("POST", "/allocations/apply", Allocations.apply)
_API.add("GET", "/jobs", Jobs.all)
_API.add("GET", "/jobs/{ref}", Jobs.one)
_API.add("GET", "/events", Events.all)
_API.add("GET", "/stream", Events.stream, response_class=EventSourceResponse)

_API.add("GET", "/users", Users.all)
_API.add("POST", "/users", Users.add, 201)
_API.add("GET", "/users/{ref}", Users.one)
_API.add("PUT", "/users/{ref}/password", Users.set_password)
_API.add("DELETE", "/users/{ref}", Users.remove, 204)
_API.add("GET", "/tokens", Tokens.all)
_API.add("POST", "/tokens", Tokens.add, 201)
_API.add("DELETE", "/tokens/{ref}", Tokens.remove, 204)


def create_people_app(parts: Parts) -> FastAPI:
    """The app for port 8080."""
    app = FastAPI(
        title="Provisioner",
        version=version("provisioner"),
        # The interactive pages load scripts from the internet, which a rack does not have.
        docs_url=None,
        redoc_url=None,
        max_body_size=BODY_LIMIT,
        # Not included: FastAPI analyses the routes of an included router a second time, at the first request.
        routes=[*_API.router.routes, *pages.router(parts).routes],
    )
    app.state.nouns = {noun.__name__: noun(parts) for noun in _API.nouns}
    health = Health(parts)
    app.add_api_route("/sd/prometheus", Discovery(parts).targets, methods=["GET"], include_in_schema=False)
    for path, answer in (("/healthz", health.alive), ("/readyz", health.ready), ("/metrics", health.metrics)):
        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
    problems.install(app)
    app.add_middleware(auth.Gate, parts=parts, away=away)
    return app
