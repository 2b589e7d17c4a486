"""``python -m provisioner.dhcp.probe IFACE [SECONDS]``: who answers a DISCOVER on this wire?

In a process of its own: scapy takes half a second and 55 MB to import. Prints one JSON object:
``{"answers": [{"server", "mac", "offered"}], "failed"}``. No lease is taken, because no REQUEST follows. Our own
server does not hear it: a raw frame is not given to sockets of the host that sends it. Needs CAP_NET_RAW.
"""

import json
import secrets
import sys
from typing import Any

_SECONDS = 6.0


def ask(interface: str, seconds: float) -> list[dict[str, str]]:
    """Every server that offers within ``seconds``, once each."""
    from scapy.config import conf  # noqa: PLC0415 - nothing of scapy before it is needed
    from scapy.layers.dhcp import BOOTP, DHCP  # noqa: PLC0415
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415
    from scapy.layers.l2 import Ether  # noqa: PLC0415
    from scapy.sendrecv import AsyncSniffer, sendp  # noqa: PLC0415

    conf.verb = 0
    # Locally administered, and of no machine: a server that knows its machines may stay silent (RFC 2131 §4.3.1).
    mac = bytes((0x02, *secrets.token_bytes(5)))
    xid = secrets.randbits(32)
    discover = (
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255")  # noqa: S104 - RFC 2131 §4.1
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=mac, xid=xid, flags=0x8000)
        / DHCP(options=[("message-type", "discover"), ("param_req_list", [1, 3, 6, 54]), "end"])
    )
    found: dict[str, dict[str, str]] = {}

    def heard(packet: Any) -> None:
        if BOOTP not in packet or packet[BOOTP].xid != xid or packet[BOOTP].op != 2:
            return
        options = packet[DHCP].options if DHCP in packet else []
        named = {option[0]: option[1] for option in options if isinstance(option, tuple)}
        server = str(named.get("server_id") or packet[IP].src)
        found[server] = {"server": server, "mac": packet[Ether].src, "offered": packet[BOOTP].yiaddr}

    listening = AsyncSniffer(
        iface=interface,
        filter="udp and port 68",
        prn=heard,
        store=False,
        started_callback=lambda: sendp(discover, iface=interface),
    )
    listening.start()
    listening.join(timeout=seconds)
    if listening.exception is not None:
        raise listening.exception
    listening.stop()
    return list(found.values())


def main(argv: list[str]) -> None:
    answers: list[dict[str, str]] = []
    failed = ""
    try:
        answers = ask(argv[0], float(argv[1]) if argv[1:] else _SECONDS)
    except Exception as error:
        failed = str(error) or type(error).__name__
    sys.stdout.write(json.dumps({"answers": answers, "failed": failed}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
