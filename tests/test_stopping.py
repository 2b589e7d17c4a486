"""SIGTERM and Ctrl-C at the moments in which a signal handler would wait for itself, or for nobody."""

import subprocess
import sys

import pytest

_START = """
import signal, threading
from provisioner.stopping import stop_on_signals

stop = threading.Event()
stop_on_signals(stop.set)
"""
_MAIN_HOLDS_THE_LOCK = """
def within(frame, event, _):
    if event == "call" and frame.f_code is threading.Condition.wait.__code__:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

import sys
sys.setprofile(within)
print("stopped" if stop.wait(10) else "never told")
"""
_MAIN_SITS_IN_A_JOIN = """
import time

def other():
    time.sleep(0.3)  # by now the main thread sits there
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    print("stopped" if stop.wait(10) else "never told")

thread = threading.Thread(target=other)
thread.start()
thread.join()
"""
_ANOTHER_SIGNAL_FIRST = """
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.raise_signal(signal.SIGUSR1)
print("not yet" if not stop.wait(0.2) else "for nothing")
signal.raise_signal(signal.SIGTERM)
print("stopped" if stop.wait(10) else "never told")
"""


@pytest.mark.parametrize(
    ("moment", "printed"),
    [
        (_MAIN_HOLDS_THE_LOCK, "stopped\n"),
        (_MAIN_SITS_IN_A_JOIN, "stopped\n"),
        (_ANOTHER_SIGNAL_FIRST, "not yet\nstopped\n"),
    ],
    ids=["the main thread holds the event's lock", "it sits in a join", "another signal comes first"],
)
def test_a_wish_to_stop_is_always_heard(moment: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _START + moment], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)
