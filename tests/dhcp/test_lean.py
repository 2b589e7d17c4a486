"""What the packets process is made of: its memory is what an answer may have to wait for."""

import subprocess
import sys


def test_the_packets_process_has_nothing_of_the_page_in_it() -> None:
    program = "import sys; from provisioner import one_service, packets; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(told.stdout.split())
    assert "provisioner.dhcp.server" in loaded
    assert not loaded & {"fastapi", "starlette", "uvicorn", "aiohttp", "scapy", "tftpy", "pyghmi"}
