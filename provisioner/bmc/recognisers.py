"""Who is known by what HTTPS shows without a login, for scans and ``auto``; the first that knows it counts.

Apart from ``adapters``, because a scan runs in the service's own process, where pyghmi must not be imported.
"""

from collections.abc import Callable, Sequence

from provisioner.bmc import cmm, redfish
from provisioner.bmc.session import Target
from provisioner.domain.bmc import Presence

Recognise = Callable[[Target], Presence | None]
RECOGNISERS: Sequence[Recognise] = (redfish.recognised, cmm.recognised)
