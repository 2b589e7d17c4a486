"""Who else answers DHCP on this wire? `python -m provisioner.dhcp.probe INTERFACE [SECONDS]`, root or CAP_NET_RAW.

Sends a DISCOVER from the interface's own MAC and prints each answer as a line of JSON: address (option 54), mac,
offered. A process of its own, because scapy takes half a second and 55 MB to import and is GPL. What it sends is
not received by this host's own sockets, so our own responder does not answer it.
"""

import json
import secrets
import sys

from scapy.all import BOOTP, DHCP, IP, UDP, AsyncSniffer, Ether, conf, get_if_hwaddr, sendp


def probe(interface: str, seconds: float) -> list[dict[str, str]]:
    """Everybody who answered within so many seconds."""
    conf.verb = 0
    mac = get_if_hwaddr(interface)
    xid = secrets.randbits(32)
    question = (
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255")  # noqa: S104 - the source of one who has no address
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=xid, flags=0x8000)
        / DHCP(options=[("message-type", "discover"), ("param_req_list", [1, 3, 6, 51, 54]), "end"])
    )
    sniffer = AsyncSniffer(
        iface=interface,
        lfilter=lambda p: BOOTP in p and p[BOOTP].op == 2 and p[BOOTP].xid == xid and p[Ether].src != mac,
        started_callback=lambda: sendp(question, iface=interface),
    )
    sniffer.start()
    sniffer.join(timeout=seconds)
    sniffer.stop()
    return [_answer(packet) for packet in sniffer.results or []]


def _answer(packet: Ether) -> dict[str, str]:
    options = (
        {each[0]: each[1] for each in packet[DHCP].options if isinstance(each, tuple)} if DHCP in packet else {}
    )
    return {
        "address": str(options.get("server_id", packet[IP].src)),
        "mac": str(packet[Ether].src),
        "offered": str(packet[BOOTP].yiaddr),
    }


if __name__ == "__main__":
    for found in probe(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 3.0):
        sys.stdout.write(json.dumps(found) + "\n")
