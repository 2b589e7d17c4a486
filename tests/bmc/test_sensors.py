"""Sensors out of Redfish and IPMI: what is read, how it is judged, and that odd parts hide no good ones."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from pyghmi.exceptions import IpmiException

from provisioner.bmc import ipmi, redfish_sensors
from provisioner.domain.bmc import Condition, Health, Reading

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
