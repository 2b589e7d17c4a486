"""Which settings file the command line names."""

from pathlib import Path

_file: Path | None = None


def use(file: Path | None) -> None:
    """Remember ``--config``; parsed once, before any command runs."""
    global _file  # noqa: PLW0603 - one command line a process
    _file = file


def named() -> Path | None:
    return _file
