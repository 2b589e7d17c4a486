"""Health and sensors out of Redfish: Status of the system, Thermal and Power of its chassis (DMTF DSP2046)."""

from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.bmc.redfish_macs import Fetch, link
from provisioner.domain.bmc import Health, Reading

_MOST = 200
"""Sensors of one list that are looked at."""
_KINDS = (
    ("Thermal", "Temperatures", ("ReadingCelsius",), "°C"),
    ("Thermal", "Fans", ("Reading", "ReadingRPM"), "RPM"),
    ("Power", "Voltages", ("ReadingVolts",), "V"),
    ("Power", "PowerControl", ("PowerConsumedWatts",), "W"),
)
"""Resource, its list, the fields that may hold the value, and its unit unless ``ReadingUnits`` says another."""


def condition(system: Mapping[str, Any], fetch: Fetch) -> tuple[Health, list[Reading]]:
    """The system's health as it says itself, roll-up first, and the readings of its chassis."""
    links = system.get("Links")
    listed = links.get("Chassis") if isinstance(links, Mapping) else None
    readings: list[Reading] = []
    for each in listed if isinstance(listed, list) else ():
        if (path := link(each)) and (box := fetch(path)):
            readings += _of(box, fetch)
    return _health(system), readings


def _of(box: Mapping[str, Any], fetch: Fetch) -> Iterator[Reading]:
    resources = {name: fetch(path) if (path := link(box.get(name))) else None for name in ("Thermal", "Power")}
    for name, items, fields, unit in _KINDS:
        resource = resources[name] or {}
        listed = resource.get(items)
        for item in listed[:_MOST] if isinstance(listed, list) else ():
            if not isinstance(item, Mapping):
                continue
            values = (item.get(field) for field in fields)
            value = next((v for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)
            status = item.get("Status")
            state = status.get("State") if isinstance(status, Mapping) else ""
            if state != "Absent":
                title = str(item.get("Name") or item.get("FanName") or item.get("MemberId") or items)
                units = {"Percent": "%"}.get(str(item.get("ReadingUnits")), str(item.get("ReadingUnits") or unit))
                yield Reading(title, value, units, _health(item), str(state or ""))


def _health(resource: Mapping[str, Any]) -> Health:
    status = resource.get("Status")
    said = (status.get("HealthRollup") or status.get("Health")) if isinstance(status, Mapping) else None
    return {"OK": Health.OK, "Warning": Health.WARNING, "Critical": Health.CRITICAL}.get(str(said), Health.UNKNOWN)
