"""The process in which templates run: ``python -m provisioner.boot.worker``.

One JSON object a line on stdin, one answer a line on stdout. A template may loop, grow or try to reach out;
here it has a sandbox, an alarm, a memory limit and no right to write a file, and ``render`` kills the whole
process if even that does not stop it. Values arrive as data and are never compiled as templates.
"""

import difflib
import json
import resource
import signal
import sys
from collections.abc import Callable, Container, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import FunctionLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

from provisioner.boot.quoting import ipxe_text, preseed_value, shell_word, yaml_scalar

MEMORY_BYTES = 512 * 1024 * 1024
_MAPPING_METHODS = frozenset({"items", "keys", "values", "get"})


class _TooSlow(Exception):
    """The alarm rang while a template ran."""


class _TooLarge(Exception):
    """A template produced more than it may."""


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 in which a mapping's own keys win over dict methods, and a missing key names what there is."""

    known: Mapping[str, str] = {}
    """The templates there are, by name."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute not in _MAPPING_METHODS:
            return obj[attribute] if attribute in obj else self._missing(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping) and isinstance(argument, str):
            return obj[argument] if argument in obj else self._missing(obj, argument)
        return super().getitem(obj, argument)

    def _missing(self, obj: Mapping[str, Any], name: str) -> Any:
        close = difflib.get_close_matches(name, obj, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return self.undefined(hint=f"{name!r} is not defined; {meant}There is: {', '.join(sorted(obj)) or 'none'}")


def _environment(templates: Mapping[str, str]) -> _Environment:
    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (templates[name], name, lambda: True) if name in templates else None

    environment = _Environment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML here; every value goes through a filter of its own format
        finalize=_printable,
    )
    environment.known = templates
    environment.filters.update(yaml=yaml_scalar, sh=shell_word, ipxe=ipxe_text, preseed=preseed_value)
    return environment


def _printable(value: Any) -> Any:
    """What ``{{ }}`` may print: a list or a null would appear in Python's spelling, which no format shares."""
    if value is None or isinstance(value, Mapping | list | tuple):
        raise ValueError(f"a {type(value).__name__} cannot be printed; use |yaml, |join or a loop")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _with_calls(context: dict[str, Any]) -> dict[str, Any]:
    """``cluster.members(role)`` and ``cluster.first(role)`` over the plain list that came in."""
    machines = context["cluster"].pop("machines")

    def members(role: str) -> list[dict[str, Any]]:
        return [machine for machine in machines if machine["role"] == role]

    def first(role: str) -> dict[str, Any]:
        found = members(role)
        if not found:
            raise ValueError(f"the cluster has no member with role {role!r}")
        return found[0]

    context["cluster"].update(members=members, first=first)
    return context


def _render(environment: _Environment, name: str, context: dict[str, Any], max_bytes: int) -> str:
    pieces, size = [], 0
    for piece in environment.get_template(name).generate(context):
        pieces.append(piece)
        size += len(piece) if piece.isascii() else len(piece.encode())
        if size > max_bytes:
            raise _TooLarge
    return "".join(pieces)


def _answer(request: dict[str, Any], environment: _Environment) -> dict[str, Any]:  # noqa: PLR0911 - one an outcome
    """``texts`` by template, or what is wrong with the first that fails. ``current``: the one at work."""
    seconds, known = request["seconds"], environment.known
    signal.setitimer(signal.ITIMER_REAL, seconds)
    request["current"] = request["names"][0]
    texts = {}
    try:
        context = _with_calls(request["context"])
        for name in request["names"]:
            request["current"] = name
            texts[name] = _render(environment, name, context, request["max_bytes"])
    except _TooSlow as error:
        return _failure(request, known, error, f"ran longer than {seconds:g} s")
    except _TooLarge as error:
        return _failure(request, known, error, f"produced more than {request['max_bytes']} bytes")
    except MemoryError as error:
        return _failure(request, known, error, f"needed more than {MEMORY_BYTES // 2**20} MiB of memory")
    except TemplateSyntaxError as error:
        return {"error": error.message or "syntax error", "file": error.filename, "line": error.lineno}
    except TemplateNotFound as error:
        return _failure(request, known, error, f"there is no template {error.name!r} in the role or in _shared")
    except Exception as error:  # whatever a template provokes is that template's fault, named by its line
        return _failure(request, known, error, str(error) or type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"texts": texts}


def _failure(
    request: Mapping[str, Any], known: Container[str], error: BaseException, message: str
) -> dict[str, Any]:
    """The error with the template's own file and line: the innermost frame that is a template's."""
    file, line = request["current"], None
    traceback = error.__traceback__
    while traceback is not None:
        if (name := traceback.tb_frame.f_code.co_filename) in known:
            file, line = name, traceback.tb_lineno
        traceback = traceback.tb_next
    return {"error": message, "file": file, "line": line}


def _ring(signum: int, frame: object) -> None:
    raise _TooSlow


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGALRM, _ring)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it closes stdin
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(limit, (value, value))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    environments: dict[str, _Environment] = {}
    for line in sys.stdin:
        request = json.loads(line)
        # Sent once a revision: compiling templates takes ten times as long as rendering them.
        if request["templates"] is not None:
            environments[request["revision"]] = _environment(request["templates"])
        sys.stdout.write(json.dumps(_answer(request, environments[request["revision"]])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
