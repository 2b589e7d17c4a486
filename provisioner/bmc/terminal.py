"""Starts a console process on the caller's terminal and hands it the login over a pipe."""

import json
import os
import subprocess
import sys

from provisioner.domain.bmc import Bmc, Login

_IPMI_PORT = 623


def attached(bmc: Bmc, login: Login, port: int | None = None) -> int:
    """Until the person ends it; its exit code. A Redfish BMC is asked over IPMI, which most speak as well.

    ``port``: where IPMI answers; None: the BMC's own if it is listed as IPMI, else 623.
    """
    door = {
        "address": bmc.address,
        "port": port or (bmc.port if bmc.protocol == "ipmi" else _IPMI_PORT),
        "user": login.user,
        "password": login.password,
    }
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "provisioner.bmc.console", str(theirs)], pass_fds=[theirs]
        )
    finally:
        os.close(theirs)
        with os.fdopen(ours, "w") as pipe:
            json.dump(door, pipe)
    return process.wait()
