"""Log lines of the services: structlog to stderr, for people or machines."""

import logging
import sys
from typing import Any

import structlog

from provisioner.settings import Settings


def configure_logging(settings: Settings, service: str) -> None:
    """structlog to stderr, for people or machines; uvicorn's own lines join it."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    level = getattr(logging, settings.log.level.upper())
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
