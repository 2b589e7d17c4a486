"""Several ASGI apps in one process, each on its own sockets, until told to stop."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, answers: Callable[[], None]) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._answers()

    def capture_signals(self) -> Any:
        """Signals belong to the service: two servers in one process would take them from each other."""
        return nullcontext()


async def serve_apps(
    apps: Sequence[tuple[Any, list[socket.socket]]],
    stop: threading.Event,
    answers: Callable[[], None],
    alive: Callable[[], None],
) -> None:
    """Serve until ``stop`` is set or one of them ends, which sets it.

    Streams have to watch ``stop`` and end: what is still open five seconds later is cut off. ``answers`` is called
    once, when all of them do; ``alive`` twice a second, as long as requests get their turn.
    """
    starting = len(apps)

    def one_answers() -> None:
        nonlocal starting
        starting -= 1
        if not starting:
            answers()

    servers = [
        _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                # X-Forwarded-For would let any local user pose as a machine: sources are those of the sockets.
                proxy_headers=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=64 * 1024,
            ),
            one_answers,
        )
        for app, _ in apps
    ]
    running = [
        asyncio.create_task(server.serve(sockets=socks)) for server, (_, socks) in zip(servers, apps, strict=True)
    ]

    async def watch() -> None:
        while not await asyncio.to_thread(stop.wait, 0.5) and not any(task.done() for task in running):
            alive()
        stop.set()
        for server in servers:
            server.should_exit = True

    await asyncio.gather(watch(), *running)
