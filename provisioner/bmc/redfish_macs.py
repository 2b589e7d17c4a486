"""The host's MACs out of Redfish, in the order in which BMCs tell them (docs/bmc.md).

EthernetInterfaces of the system; ports of the network adapters; network device functions; what vendors keep under
names of their own. A later source is asked only if those before name no MAC or leave one blank. Kept: NICs without
a Status. Left out, with a note: blanks, WWNs, group addresses, the BMC's own, and the USB NIC between BMC and host,
whose MAC many servers share.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.domain.errors import InvalidValue
from provisioner.domain.mac import Mac

Fetch = Callable[[str], Mapping[str, Any] | None]
"""A resource by its path; None if it is not there."""

_MOST_MEMBERS = 64
"""Of one collection that are looked at; no server has more ports."""
_TO_BMC = re.compile(r"usb|host ?interface|tomanager|rndis|virtual", re.IGNORECASE)
_MAC_FIELDS = ("MACAddress", "PermanentMACAddress", "MacAddress", "PermanentAddress", "FactoryMacAddress")


@dataclass(slots=True)
class _Found:
    """MACs in order, those with a link first in the end."""

    own: frozenset[Mac]
    linked: list[Mac] = field(default_factory=list)
    others: list[Mac] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blanks: int = 0

    def take(self, what: str, spelled: Iterable[Any], resource: Mapping[str, Any]) -> None:
        """The first of these spellings that says something."""
        text = next((s.strip() for s in spelled if isinstance(s, str) and s.strip(" 0:-")), "")
        if not text:
            self.blanks += 1
            return
        try:
            mac = Mac.parse(text)
        except InvalidValue as refused:
            self.notes.append(f"{what} left out: {refused.problem}")
            return
        if mac in self.own:
            self.notes.append(f"{what} left out: {mac} is the BMC's own")
        elif mac not in self.linked and mac not in self.others:
            up = str(resource.get("LinkStatus", "")).lower() in ("linkup", "up")
            (self.linked if up else self.others).append(mac)

    @property
    def done(self) -> bool:
        return bool(self.linked or self.others) and not self.blanks


def host_macs(system: Mapping[str, Any], fetch: Fetch, own: frozenset[Mac]) -> tuple[list[Mac], list[str]]:
    """MACs, those of NICs with a link first, and notes on what was left out."""
    found = _Found(own)
    for source in (_interfaces, _ports, _functions, _hpe):
        found.blanks = 0
        source(system, fetch, found)
        if found.done:
            break
    macs = found.linked + found.others
    if not macs:
        found.notes.append(
            "Redfish names no MAC of the server; they come from its first DHCP request, or enter them"
        )
    return macs, found.notes


def managers_macs(root: Mapping[str, Any], fetch: Fetch) -> frozenset[Mac]:
    """The BMC's own, which are never boot MACs."""
    spelled = [
        nic.get(name)
        for manager in members(root.get("Managers"), fetch)
        for nic in members(manager.get("EthernetInterfaces"), fetch)
        for name in _MAC_FIELDS
    ]
    return frozenset(mac for text in spelled if isinstance(text, str) and (mac := _parsed(text)))


def members(collection: Any, fetch: Fetch) -> Iterator[Mapping[str, Any]]:
    """The resources of a collection, given by its link; what is no collection has none."""
    linked = fetch(link(collection)) if link(collection) else None
    listed = linked.get("Members") if linked else None
    for member in listed[:_MOST_MEMBERS] if isinstance(listed, list) else ():
        if (path := link(member)) and (resource := fetch(path)) is not None:
            yield resource


def link(value: Any) -> str:
    """The path in ``{"@odata.id": …}`` (or iLO4's ``{"href": …}``); empty if there is none."""
    if not isinstance(value, Mapping):
        return ""
    path = value.get("@odata.id") or value.get("href")
    return path if isinstance(path, str) else ""


def _interfaces(system: Mapping[str, Any], fetch: Fetch, found: _Found) -> None:
    for nic in members(system.get("EthernetInterfaces"), fetch):
        name = " ".join(str(nic.get(key) or "") for key in ("Id", "Name", "Description"))
        if _TO_BMC.search(name):
            found.notes.append(f"interface {name.strip()!r} left out: it leads to the BMC, not to the wire")
            continue
        found.take(f"interface {name.strip()!r}", (nic.get(key) for key in _MAC_FIELDS), nic)


def _adapters(system: Mapping[str, Any], fetch: Fetch) -> Iterator[Mapping[str, Any]]:
    links = system.get("Links")
    chassis = links.get("Chassis") if isinstance(links, Mapping) else None
    for each in chassis if isinstance(chassis, list) else ():
        if (path := link(each)) and (box := fetch(path)):
            yield from members(box.get("NetworkAdapters"), fetch)


def _ports(system: Mapping[str, Any], fetch: Fetch, found: _Found) -> None:
    for adapter in _adapters(system, fetch):
        for port in members(adapter.get("Ports") or adapter.get("NetworkPorts"), fetch):
            ethernet = port.get("Ethernet")
            inner = ethernet.get("AssociatedMACAddresses") if isinstance(ethernet, Mapping) else None
            listed = inner or port.get("AssociatedNetworkAddresses") or port.get("AssociatedMACAddresses")
            found.take(f"port {port.get('Id')}", listed if isinstance(listed, list) else (), port)


def _functions(system: Mapping[str, Any], fetch: Fetch, found: _Found) -> None:
    for adapter in _adapters(system, fetch):
        for function in members(adapter.get("NetworkDeviceFunctions"), fetch):
            ethernet = function.get("Ethernet")
            if isinstance(ethernet, Mapping):
                found.take(f"function {function.get('Id')}", (ethernet.get(key) for key in _MAC_FIELDS), function)


def _hpe(system: Mapping[str, Any], fetch: Fetch, found: _Found) -> None:
    """iLO5: BaseNetworkAdapters; iLO4: NetworkAdapters; both under Oem, with PhysicalPorts[].MacAddress."""
    oem = system.get("Oem")
    for vendor in oem.values() if isinstance(oem, Mapping) else ():
        if not isinstance(vendor, Mapping):
            continue
        nested = vendor.get("Links") or vendor.get("links")
        links = {**vendor, **nested} if isinstance(nested, Mapping) else vendor
        for name in ("BaseNetworkAdapters", "NetworkAdapters"):
            for adapter in members(links.get(name), fetch):
                ports = adapter.get("PhysicalPorts")
                for port in ports if isinstance(ports, list) else ():
                    if isinstance(port, Mapping):
                        found.take(f"adapter {adapter.get('Name')!r}", (port.get(key) for key in _MAC_FIELDS), port)


def _parsed(text: str) -> Mac | None:
    try:
        return Mac.parse(text)
    except InvalidValue:
        return None
