"""How a service or the supervisor learns that it shall end."""

import signal
import socket
import threading
from collections.abc import Callable

_ENDS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop``, which may be an Event's ``set``, at SIGTERM or SIGINT, in a thread of its own. For good.

    Not in a handler: Python runs those in the main thread, which may hold the event's lock at that moment (in
    ``wait``, or in an earlier signal's ``set``: Ctrl-C goes to the whole group, and SIGTERM follows from the
    supervisor) and would wait for itself, or which may sit in a ``join`` that a signal to another thread does not
    wake.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    # Only signals that Python handles are written to it (signal.set_wakeup_fd).
    for number in _ENDS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        # To the process's end, and with it both sockets: signals that come later are still written.
        while told.fileno() >= 0:
            if heard.recv(1)[0] in _ENDS:
                stop()

    threading.Thread(target=wait, name="stop", daemon=True).start()
