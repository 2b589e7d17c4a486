"""Who answers DHCP on a wire, asked by the probe in its own process."""

import json
import subprocess
import sys

from provisioner.doctor.facts import Answer, Probed

_SECONDS = 5
"""dnsmasq pings an address for three seconds before it offers it; ISC dhcpd for one."""
_PATIENCE = 30


def ask(wire: str) -> Probed:
    """Takes five seconds. Never raises: what went wrong is in ``failed``."""
    argv = [sys.executable, "-P", "-m", "provisioner.dhcp.probe", wire, str(_SECONDS)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        told = json.loads(done.stdout)
        answers = tuple(Answer(str(a["server"]), str(a["mac"]), str(a["offered"])) for a in told["answers"])
        return Probed(wire, answers, str(told["failed"]))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        return Probed(wire, failed=f"the probe did not answer ({type(error).__name__})")
