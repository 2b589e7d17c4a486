"""The lab's answer to router solicitations, judged by scapy."""

import struct

from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr

from provisioner.lab.router import advertisement, is_solicitation

MAC = bytes.fromhex("525400123456")


def test_it_is_no_router_and_configures_nothing():
    said = ICMPv6ND_RA(advertisement(MAC))
    assert (said.type, said.routerlifetime, said.M, said.O) == (134, 0, 0, 0)
    assert said[ICMPv6NDOptSrcLLAddr].lladdr == "52:54:00:12:34:56"
    assert said[ICMPv6NDOptSrcLLAddr].payload.name == "NoPayload", "no prefix, no route, no MTU"


def test_only_solicitations_are_answered():
    assert is_solicitation(struct.pack("!BBHI", 133, 0, 0, 0))
    assert not is_solicitation(advertisement(MAC))
    assert not is_solicitation(b"")
