"""The adapters by protocol. Another kind of BMC or chassis is one file with an ``opened(target)``, and a line."""

from collections.abc import Mapping

from provisioner.bmc import cmm, ipmi, redfish
from provisioner.bmc.session import Open, Target

ADAPTERS: Mapping[str, Open] = {"ipmi": ipmi.opened, "redfish": redfish.opened, "cmm": cmm.opened}
_IPMI_PORT, _HTTPS_PORT = 623, 443


def detected(target: Target) -> tuple[str, int]:
    """Protocol and port of a BMC listed as ``auto``: Redfish if its service root answers, else IPMI."""
    port = _HTTPS_PORT if target.port == _IPMI_PORT else target.port
    if redfish.service_root(Target(target.address, port, "", "")):
        return "redfish", port
    return "ipmi", _IPMI_PORT if target.port == _HTTPS_PORT else target.port
