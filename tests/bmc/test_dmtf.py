"""DMTF's own mockup resources (server 437XR1138R2), as `sushy` carries them on PyPI, served over TLS.

The mockup server and the mockup bundles themselves (DSP2043) are not on PyPI; these are the part of them that is.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sushy

from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import BootDevice, Drive, Health, Power
from provisioner.domain.mac import Mac
from tests.bmc.https_bmc import LOGIN, HttpsBmc, Redfish, served
from tests.bmc.test_redfish import pinned

pytestmark = pytest.mark.system
SAMPLES = Path(sushy.__file__).parent / "tests" / "unit" / "json_samples"
SYSTEM = "/redfish/v1/Systems/437XR1138R2"
FILES = (
    *("root", "system_collection", "system", "ethernet_interfaces_collection", "ethernet_interfaces"),
    *("manager_collection", "manager", "virtual_media_collection", "virtual_media"),
    *("chassis_collection", "chassis", "thermal", "session_service"),
)


def tree() -> dict[str, Any]:
    read = [json.loads((SAMPLES / f"{name}.json").read_text()) for name in FILES]
    return {each["@odata.id"]: each for each in read}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


def test_the_mockup_tells_who_it_is_and_how(pool: WorkerPool, tmp_path: Path) -> None:
    service = Redfish(tree())
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        found = pool.identify(bmc.bmc(), LOGIN)
        assert (found.vendor, found.model, found.serial) == ("Contoso", "3500", "437XR1138R2")
        assert (found.uuid, found.macs) == (
            UUID("38947555-7742-3448-3784-823347823834"),
            (Mac.parse("12:44:6A:3B:04:11"),),
        )
        known = pinned(pool, bmc)
        assert pool.power(known, LOGIN, Power.STATUS) is Power.ON
        condition = pool.condition(known, LOGIN)
        assert condition.health is Health.OK
        assert pool.drives(known, LOGIN) == [
            Drive("Floppy1", ("Floppy", "USBStick"), "https://www.dmtf.org/freeImages/Sardine.img")
        ]
        pool.set_boot_device(known, LOGIN, BootDevice.NETWORK, uefi=True)
        assert pool.power(known, LOGIN, Power.OFF) is Power.OFF
    assert service.patched[-1]["Boot"]["BootSourceOverrideTarget"] == "Pxe"
    assert service.resets == ["ForceOff"]
    assert service.open == set()
