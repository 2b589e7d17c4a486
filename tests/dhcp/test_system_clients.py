"""The server on a real wire, asked by the clients that an operating system uses."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.netns import Wire, sh

from .on_wire import Running, inside, udhcpc, until
from .rack import (
    MAC,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]


def test_udhcpc_gets_the_reserved_address(on: Wire, server: Running, script: Path) -> None:
    said = udhcpc(on, "node", script)
    assert (
        "GOT bound ip=10.98.0.17 mask=24 router=10.98.0.254 dns=10.98.0.2 10.98.0.3 lease=7200 "
        "server=10.98.0.1 host=node17"
    ) in said
    events = server.until(lambda event: event["kind"] == "dhcp.ack")
    assert [event["kind"] for event in events] == ["dhcp.offer", "dhcp.ack"]
    assert {event["mac"] for event in events} == {str(MAC)}


def test_udhcpc_uses_the_options_that_are_stated_for_its_machine(on: Wire, server: Running, script: Path) -> None:
    wishes = [word for name in ("mtu", "search", "ntpsrv", "staticroutes") for word in ("-O", name)]
    said = udhcpc(on, "node", script, *wishes)
    routes = "10.97.0.0/16 10.98.0.7 0.0.0.0/0 10.98.0.254"
    assert f"OPTIONS mtu=1400 search=rack.example example ntp=10.98.0.40 routes={routes}" in said
    unasked = udhcpc(on, "node", script, "-o", "-O", "dns")
    assert "OPTIONS mtu= search= ntp= routes=" in unasked


def test_udhcpc_that_wants_broadcasts_gets_them(on: Wire, server: Running, script: Path) -> None:
    assert "GOT bound ip=10.98.0.17" in udhcpc(on, "node", script, "-B")


def test_two_clients_at_once_get_each_its_own(on: Wire, server: Running, script: Path) -> None:
    told: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda c=client: told.update({c: udhcpc(on, c, script)}))  # type: ignore[misc]
        for client in ("node", "second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert "GOT bound ip=10.98.0.17" in told["node"]
    assert "GOT bound ip=10.98.0.18" in told["second"]


@pytest.mark.rule("dhcp-06")
@pytest.mark.rule("dhcp-09")
def test_udhcpc_renews_and_releases(on: Wire, server: Running, script: Path) -> None:
    # USR1 makes it renew, USR2 release; both by unicast from its address.
    process = subprocess.Popen(
        [*on.exec(on.clients["node"]), "udhcpc", "-i", "eth0", "-f", "-R", "-t", "3", "-T", "1", "-s", str(script)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.until(lambda event: event["kind"] == "dhcp.ack")
        # The lease's script has run when the address is there; only then can it renew from it.
        until(lambda: "10.98.0.17" in inside(on, "node", "ip", "-4", "addr", "show", "eth0"))
        process.send_signal(10)
        assert "renewed 10.98.0.17;" in server.until(lambda e: e["kind"] == "dhcp.ack")[-1]["message"]
        process.send_signal(12)
        assert server.until(lambda e: e["kind"] == "dhcp.release")[-1]["mac"] == str(MAC)
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.rule("dhcp-05")
def test_dhclient_gets_the_reserved_address_and_comes_back_with_it(
    on: Wire, server: Running, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(
        '#!/bin/sh\ncase "$reason" in BOUND|REBOOT|RENEW) ip addr replace "$new_ip_address/24" dev eth0;; esac\n'
        'echo "$new_interface_mtu|$new_domain_search|$new_ntp_servers|$new_rfc3442_classless_static_routes" '
        f">> {tmp_path / 'told'}\n"
    )
    hook.chmod(0o755)
    conf = tmp_path / "dhclient.conf"
    # As Debian's own dhclient.conf.
    conf.write_text(
        "timeout 8;\n"
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, interface-mtu, domain-search, ntp-servers,"
        " rfc3442-classless-static-routes;\n"
    )
    files = ["-cf", str(conf), "-lf", str(tmp_path / "leases"), "-pf", str(tmp_path / "pid"), "-sf", str(hook)]
    for expected in ("dhcp.offer", "INIT-REBOOT"):
        # In the foreground: what goes to the background cannot be ended for certain, and keeps port 68.
        process = subprocess.Popen(
            [*on.exec(on.clients["node"]), "dhclient", "-4", "-d", "-1", *files, "eth0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            events = server.until(lambda event: event["kind"] == "dhcp.ack", 30)
            assert any(expected in event["kind"] + event["message"] for event in events)
            # Only when the hook has run does the machine have its address.
            until(lambda: "10.98.0.17" in inside(on, "node", "ip", "-4", "addr", "show", "eth0"))
        finally:
            process.terminate()
            process.wait(10)
        sh("ip", "-n", on.clients["node"], "addr", "flush", "dev", "eth0", "scope", "global")
    told = (tmp_path / "told").read_text().splitlines()
    assert "1400|rack.example. example.|10.98.0.40|16 10 97 10 98 0 7 0 10 98 0 254" in told


NETWORKD = """
mount -t tmpfs none /run && mkdir -p /run/systemd/network /run/dbus
printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n' \
  > /run/systemd/network/10-eth0.network
# It waits for udev, which is not here, unless it thinks that it is in a container.
mount -o remount,ro,bind /sys
chmod -R a+rX /run
exec timeout 60 /lib/systemd/systemd-networkd
"""


@pytest.mark.rule("dhcp-22")
def test_networkd_with_its_duid_gets_the_macs_address_and_routes(on: Wire, server: Running) -> None:
    process = subprocess.Popen(
        [*on.exec(on.clients["node"]), "unshare", "-m", "--propagation", "private", "sh", "-c", NETWORKD],
        stderr=subprocess.DEVNULL,
    )
    try:
        events = server.until(lambda event: event["kind"] == "dhcp.ack", 30)
        assert events[-1]["message"] == "took 10.98.0.17; confirmed for 7200 s"
        until(lambda: "10.97.0.0/16 via 10.98.0.7" in inside(on, "node", "ip", "route"))
        assert "default via 10.98.0.254" in inside(on, "node", "ip", "route")
    finally:
        process.terminate()
        process.wait(10)
    server.until(lambda event: event["kind"] == "dhcp.release")
