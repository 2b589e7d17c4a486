"""The adapters by protocol. Another kind of BMC or chassis is one file with an ``opened(target)``, and a line.

If it can be known without a login, it has a line in ``recognisers``, too.
"""

from collections.abc import Mapping

from provisioner.bmc import cmm, ipmi, redfish
from provisioner.bmc.recognisers import RECOGNISERS
from provisioner.bmc.session import Open, Target
from provisioner.domain.errors import BmcError

ADAPTERS: Mapping[str, Open] = {"ipmi": ipmi.opened, "redfish": redfish.opened, "cmm": cmm.opened}
_IPMI_PORT, _HTTPS_PORT = 623, 443


def detected(target: Target) -> tuple[str, int]:
    """Protocol and port of a BMC listed as ``auto``: what is recognised over HTTPS, else IPMI. Raises BmcError."""
    port = _HTTPS_PORT if target.port == _IPMI_PORT else target.port
    there = Target(target.address, port, "", "")
    found = next((known for recognised in RECOGNISERS if (known := recognised(there))), None)
    if found is None:
        return "ipmi", _IPMI_PORT if target.port == _HTTPS_PORT else target.port
    if "cmm" in found.protocols:
        raise BmcError(
            "unsupported",
            f"BMC {target.address} is a chassis manager, not one server's",
            f"`provisioner bmc add {target.address} --protocol cmm`, then harvest it",
        )
    return found.protocols[0], port
