"""Options that several commands of a noun share: what may be stated of a thing, written down once."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

Command = Callable[..., None]


def stated(options: Mapping[str, Any]) -> Callable[[Command], Command]:
    """The command's ``**fields`` become these options, by name and annotation; it gets those that were given."""

    def dressed(command: Command) -> Command:
        own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in options.items()
        ]

        @wraps(command)
        def called(**given: Any) -> None:
            # An option that may be repeated is an empty list where it was not given.
            left_out = {name for name in options if given.get(name) in (None, [])}
            command(**{name: value for name, value in given.items() if name not in left_out})

        called.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
        return called

    return dressed
