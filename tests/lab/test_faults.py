"""Lost callbacks: a machine's POSTs fail, its GETs go through."""

import subprocess
import sys
import time

import pytest

from provisioner.lab import faults
from provisioner.lab.network import Network
from provisioner.lab.programs import inside

pytestmark = pytest.mark.system
SERVER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"yes")
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("10.77.0.1", 80), Answer).serve_forever()
"""


def curl(network: Network, *words: str) -> str:
    argv = ["curl", "-sS", "--max-time", "5", *words, "http://10.77.0.1/b/token/progress"]
    return subprocess.run(
        inside(network.bmcs, argv), capture_output=True, text=True, check=False, timeout=20
    ).stdout


@pytest.mark.rule("fault-13")
def test_dropped_callbacks_are_lost_and_nothing_else_is():
    network = Network(f"pt{time.time_ns() % 10**9}")
    server = None
    try:
        network.up()
        network.add_bmc(0)
        server = subprocess.Popen(inside(network.appliance, [sys.executable, "-c", SERVER]))
        until = time.monotonic() + 20
        while curl(network) != "yes":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert curl(network, "-d", "{}") == "yes"
        faults.drop_callbacks(network.appliance)
        assert curl(network, "-d", "{}") == ""
        assert curl(network) == "yes"
    finally:
        if server is not None:
            server.kill()
            server.wait()
        network.down()
