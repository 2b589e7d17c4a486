"""What a person sees on a terminal: narrow, or one that cannot redraw (a serial console)."""

import os
import sys

import pexpect
import pytest

from tests.cli.conftest import Run

MAC = "52:54:00:12:34:56"


@pytest.mark.system
@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("columns", [40, 80, 110])
def test_a_list_breaks_sentences_and_never_a_mac_or_an_address(run: Run, term: str, columns: int) -> None:
    run("subnet", "add", "10.12.1.0/24")
    added = run("machine", "add", "--name", "rack-seventeen-node-01", "--mac", MAC, "--ip", "10.12.1.117")
    assert added.code == 0
    env = {**os.environ, "TERM": term, "NO_COLOR": "1"}
    env.pop("COLUMNS", None)
    argv = ["-m", "provisioner", "machine", "list"]
    with pexpect.spawn(
        sys.executable, argv, env=env, encoding="utf-8", timeout=60, dimensions=(24, columns)
    ) as child:
        child.expect(pexpect.EOF)
        shown = str(child.before)
    assert MAC in shown
    assert "10.12.1.117" in shown
    assert "rack-seventeen-node-01" in shown
    # A word of its reason on a line: never a letter.
    assert not [line for line in shown.splitlines() if len(line.strip()) == 1]
