"""An appliance with one machine, and what a refused command says."""

import pytest

from tests.cli.conftest import Ran, Run, fresh, release, run

__all__ = ["fresh", "release", "run"]  # fixtures of the command line


@pytest.fixture
def rack(run: Run) -> Run:
    """One subnet, one machine."""
    assert run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1").code == 0
    words = ("machine", "add", "--name", "node-01", "--mac", "52:54:00:00:00:01", "--ip", "10.12.1.11")
    assert run(*words, "--role", "simple").code == 0
    return run


def refused(done: Ran) -> str:
    """The one sentence; nothing else is printed, and there is no stack trace."""
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("provisioner: ")
    return done.err.removeprefix("provisioner: ").removesuffix("\n")
