"""Sensors out of Redfish and IPMI: what is read, how it is judged, and that odd parts hide no good ones."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyghmi.exceptions import IpmiException

from provisioner.bmc import ipmi, redfish_sensors
from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Condition, Health, Reading
from tests.bmc.conftest import simulated_bmc
from tests.bmc.sdr import CELSIUS, RPM, VOLTS, WATTS, Analog, Supply

TREE: dict[str, Any] = {
    "/c/1": {"Thermal": {"@odata.id": "/c/1/t"}, "Power": {"@odata.id": "/c/1/p"}},
    "/c/1/t": {
        "Temperatures": [
            {"Name": "Inlet", "ReadingCelsius": 24, "Status": {"Health": "OK", "State": "Enabled"}},
            {"Name": "CPU2", "ReadingCelsius": None, "Status": {"State": "Absent"}},
            "nonsense",
        ],
        "Fans": [
            {"FanName": "Fan 1", "Reading": 0, "ReadingUnits": "RPM", "Status": {"Health": "Critical"}},
            {"Name": "Fan 2", "Reading": 35, "ReadingUnits": "Percent", "Status": None},
        ],
    },
    "/c/1/p": {"Voltages": {"not": "a list"}, "PowerControl": [{"PowerConsumedWatts": 212.5}]},
}


def test_redfish_tells_temperatures_fans_and_watts() -> None:
    system = {
        "Status": {"Health": "OK", "HealthRollup": "Critical"},
        "Links": {"Chassis": [{"@odata.id": "/c/1"}, {"@odata.id": "/c/gone"}]},
    }
    assert redfish_sensors.condition(system, TREE.get) == (
        Health.CRITICAL,
        [
            Reading("Inlet", 24, "°C", Health.OK, "Enabled"),
            Reading("Fan 1", 0, "RPM", Health.CRITICAL),
            Reading("Fan 2", 35, "%", Health.UNKNOWN),
            Reading("PowerControl", 212.5, "W", Health.UNKNOWN),
        ],
    )
    assert redfish_sensors.condition({"Status": {"Health": "Warning"}}, TREE.get) == (Health.WARNING, [])
    assert redfish_sensors.condition({}, TREE.get) == (Health.UNKNOWN, [])


def test_an_ipmi_sensor_that_breaks_the_list_leaves_those_before_it() -> None:
    def sensors() -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(name="Inlet", value=24.0004, units="°C", health=0, states=[], unavailable=0)
        yield SimpleNamespace(name="PSU2", value=None, units=None, health=2, states=["Failure"], unavailable=0)
        yield SimpleNamespace(name="DIMM9", value=None, units="", health=0, states=[], unavailable=1)
        raise IpmiException("Invalid SDR")

    assert ipmi.condition(SimpleNamespace(get_sensor_data=sensors)) == Condition(
        Health.CRITICAL,
        (Reading("Inlet", 24.0, "°C", Health.OK), Reading("PSU2", None, "", Health.CRITICAL, "Failure")),
        ("sensors cannot be read further: Invalid SDR",),
    )


SENSORS = (
    Analog("Inlet Temp", CELSIUS, 24),
    Analog("CPU1 Temp", CELSIUS, 97, upper=(90, 100)),
    Analog("12V", VOLTS, 190, m=64, exponent=-3),
    Analog("Fan 1", RPM, 2, m=100, lower=(8, 4)),
    Analog("Power", WATTS, 53, m=4),
    Supply("PSU1", failed=False),
    Supply("PSU2", failed=True),
)


@pytest.mark.system
def test_the_records_of_a_real_repository_are_read_and_judged_as_ipmitool_does(tmp_path: Path) -> None:
    pool = WorkerPool(size=1, allow_loopback=True, between=0)
    lines = "".join(sensor.lines(number) for number, sensor in enumerate(SENSORS, 1))
    try:
        with simulated_bmc(tmp_path, sensors=lines) as bmc:
            told = pool.condition(bmc.bmc, bmc.login)
            rows = [[cell.strip() for cell in row.split("|")] for row in bmc.ipmitool("sensor").splitlines()]
    finally:
        pool.close()
    assert (told.health, told.notes) == (Health.CRITICAL, ())
    assert [(each.name, each.value, each.unit, each.health) for each in told.readings] == [
        ("Inlet Temp", 24.0, "°C", Health.OK),
        ("CPU1 Temp", 97.0, "°C", Health.WARNING),
        ("12V", 12.16, "V", Health.OK),
        ("Fan 1", 200.0, "RPM", Health.CRITICAL),
        ("Power", 212.0, "W", Health.OK),
        ("PSU1", None, "", Health.OK),
        ("PSU2", None, "", Health.CRITICAL),
    ]
    seen = {row[0]: row[1:4] for row in rows}
    judged = {"ok": Health.OK, "nc": Health.WARNING, "cr": Health.CRITICAL}
    for each in told.readings[:5]:
        value, _, state = seen[each.name]
        assert (float(value), judged[state]) == (each.value, each.health)
    assert [seen[name][0] for name in ("PSU1", "PSU2")] == ["0x1", "0x3"]
    assert told.readings[6].state == "Present, Failure"
