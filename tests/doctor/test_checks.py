"""Facts in, sentences out: one table a check."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from provisioner.doctor import checks, network, stock
from provisioner.doctor.facts import (
    Answer,
    Clock,
    Database,
    Disk,
    Facts,
    Fetch,
    ImageState,
    Listener,
    Loader,
    Port,
    Probed,
    RoleState,
    Wire,
)
from provisioner.doctor.findings import Finding, Level, exit_code, worst_first

ETH1 = Wire("eth1", addresses=(IPv4Interface("10.12.1.2/24"),))
DHCP = Port("udp", 67, "", "DHCP", device="eth1")
TFTP = Port("udp", 69, "10.12.1.2", "TFTP", "tftp.port")
PAGE = Port("tcp", 8080, "0.0.0.0", "page", "people.listen")
GIB = 1 << 30
DAY = 86_400_000_000


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level.value, finding.says) for finding in findings]


@pytest.mark.parametrize(
    ("wire", "level", "says", "remedy"),
    [
        (ETH1, "ok", "interface eth1 is up and has 10.12.1.2/24, DHCP authoritative", ""),
        (
            Wire("eht1", exists=False, others=("eth0", "eth1")),
            "problem",
            "interface eht1 does not exist",
            "interfaces here: eth0, eth1",
        ),
        (replace(ETH1, up=False), "problem", "interface eth1 is down", "`ip link set eth1 up`"),
        (
            replace(ETH1, addresses=()),
            "problem",
            "interface eth1 has no IPv4 address",
            "`ip addr add 10.12.1.2/24 dev eth1`",
        ),
        (
            replace(ETH1, stated=IPv4Address("10.12.1.9")),
            "problem",
            "interface eth1 does not have the address 10.12.1.9 of the settings; it has 10.12.1.2/24",
            "correct `address`, or `ip addr add 10.12.1.9/24 dev eth1`",
        ),
        (
            replace(ETH1, carrier=False),
            "warning",
            "interface eth1 has 10.12.1.2/24, but no carrier",
            "plug in its cable",
        ),
    ],
    ids=["well", "misspelt", "down", "no-address", "other-address", "no-carrier"],
)
def test_wires(wire: Wire, level: str, says: str, remedy: str) -> None:
    assert list(network.wires([wire])) == [Finding("wire", Level(level), says, remedy)]


def test_ports_name_their_holder_and_the_way_out() -> None:
    dnsmasq = Listener("udp", "0.0.0.0", 67, program="dnsmasq", pid=812, unit="dnsmasq.service")
    (taken, free) = network.ports([DHCP, TFTP], [dnsmasq])
    assert taken == Finding(
        "ports",
        Level.PROBLEM,
        "UDP 67 (DHCP) is taken by dnsmasq (pid 812)",
        "stop it: `systemctl disable --now dnsmasq.service`",
    )
    assert (free.level, free.says) == (Level.OK, "free for the appliance, which does not run: UDP 69 (TFTP)")


def test_a_port_that_can_move_says_how() -> None:
    (taken,) = network.ports([PAGE], [Listener("tcp", "*", 8080, program="java", pid=5)])
    assert taken.remedy == "stop it: `kill 5`, or move ours with people.listen"


def test_one_damaged_image_is_told_once_for_all_its_roles() -> None:
    fault = "image flatcar 1.2.3 cannot be used: no file 'k'"
    names = ("discover", "rescue", "simple", "worker")
    odd = RoleState("odd", "", fault="role.yaml: line 3")
    found = list(stock.roles(Facts(roles=(*(RoleState(name, "flatcar", fault=fault) for name in names), odd))))
    assert [(f.says, f.remedy) for f in found] == [
        (f"roles discover, rescue, simple and 1 more: {fault}", "mend it, then `provisioner role validate`"),
        ("role odd: role.yaml: line 3", "mend it, then `provisioner role validate odd`"),
    ]


def test_without_an_address_no_route_is_judged() -> None:
    """It would advise to remove the very subnet that the address is missing of."""
    facts = Facts(wires=(replace(ETH1, addresses=()),), routes={IPv4Network("10.12.1.0/24"): ""})
    assert [f.level for f in network.reverse_path(facts)] == [Level.UNSEEN]


def test_a_server_on_another_device_is_not_in_the_way() -> None:
    libvirt = Listener("udp", "0.0.0.0", 67, device="virbr0", program="dnsmasq", pid=4)
    assert told(list(network.ports([DHCP], [libvirt]))) == [
        ("ok", "free for the appliance, which does not run: UDP 67 (DHCP)")
    ]


def test_a_service_that_died_alone_is_a_problem() -> None:
    ours = Listener("udp", "0.0.0.0", 67, "eth1", "python", 9, ours=True)
    assert told(list(network.ports([DHCP, PAGE], [ours]))) == [
        ("ok", "the appliance listens on UDP 67 (DHCP)"),
        ("problem", "the appliance runs, but nobody listens on TCP 8080 (page)"),
    ]


def test_rights_are_asked_for_by_name_only_while_nobody_serves() -> None:
    bare = Facts(wires=(ETH1,), listeners=(), capabilities=frozenset({"cap_net_raw"}))
    (lacking,) = network.rights(bare)
    assert (
        lacking.says == "this user could not serve: it lacks CAP_NET_BIND_SERVICE to answer on ports 67, 69 and 80"
    )
    serving = replace(bare, listeners=(Listener("udp", "0.0.0.0", 67, "eth1", ours=True),))
    assert [finding.level for finding in network.rights(serving)] == [Level.OK]


def test_relayed_subnets_need_a_way_back() -> None:
    beyond = IPv4Network("10.13.0.0/24")
    strict = replace(ETH1, reverse_path=1)
    assert told(list(network.reverse_path(Facts(wires=(ETH1,), routes={beyond: ""})))) == [
        ("problem", "there is no route to subnet 10.13.0.0/24, which is on no wire of ours")
    ]
    (asymmetric,) = network.reverse_path(Facts(wires=(strict,), routes={beyond: "eth0"}))
    assert asymmetric.level is Level.WARNING
    assert "leave by eth0, and eth1 drops what comes from it" in asymmetric.says
    assert "net.ipv4.conf.eth1.rp_filter=2" in asymmetric.remedy
    assert [f.level for f in network.reverse_path(Facts(wires=(strict,), routes={beyond: "eth1"}))] == [Level.OK]


def test_two_interfaces_in_one_network_are_warned_of() -> None:
    twin = Wire("eth2", addresses=(IPv4Interface("10.12.1.3/24"),))
    (finding,) = network.reverse_path(Facts(wires=(ETH1, twin)))
    assert finding.says == "eth1 and eth2 are in the same network: answers may leave by the wrong one"


@pytest.mark.parametrize(
    ("expected", "level"), [(500, "ok"), (600, "warning"), (1500, "problem")], ids=["fits", "cleared", "too-many"]
)
def test_the_neighbour_table_must_hold_all_machines(expected: int, level: str) -> None:
    (finding,) = network.neighbour_table(Facts(neighbours_expected=expected, neighbour_limits=(512, 1024)))
    assert finding.level == level
    assert ("gc_thresh3" in finding.remedy) == (level != "ok")


def test_images_that_a_used_role_needs() -> None:
    roles = (
        RoleState("simple", "flatcar", used=True),
        RoleState("worker", "flatcar", used=True),
        RoleState("pinned", "debian", "12.5", used=True),
        RoleState("idle", "other"),
    )
    found = stock.images(Facts(roles=roles, images=(ImageState("debian", "12.4"),)))
    assert told(list(found)) == [
        ("problem", "image flatcar is not imported, roles simple, worker need it"),
        ("problem", "image debian 12.5 is not imported, role pinned needs it"),
    ]
    cut = ImageState("flatcar", "3", ("flatcar_production_image.bin.bz2 is truncated: 1 bytes",))
    assert told(list(stock.images(Facts(images=(cut,))))) == [
        ("problem", "image flatcar 3: flatcar_production_image.bin.bz2 is truncated: 1 bytes")
    ]


@pytest.mark.parametrize(
    ("disk", "level", "says"),
    [
        (Disk("/d", free=50 * GIB, size=100 * GIB), "ok", "50.0 of 100 GiB free in /d"),
        (Disk("/d", free=4 * GIB, size=100 * GIB), "warning", "4.0 of 100 GiB free in /d"),
        (Disk("/d", free=GIB // 20, size=100 * GIB), "problem", "disk full"),
        (Disk("/d", free=50 * GIB, size=100 * GIB, free_files=3), "problem", "no inodes left"),
        (Disk("/d", writable=False, free=50 * GIB, size=60 * GIB), "problem", "cannot be written by this user"),
        (Disk("/d", exists=False), "warning", "does not exist yet"),
    ],
    ids=["roomy", "narrow", "full", "no-inodes", "read-only", "absent"],
)
def test_disk(disk: Disk, level: str, says: str) -> None:
    (finding,) = stock.disk(Facts(disk=disk))
    assert finding.level == level
    assert says in finding.says


@pytest.mark.parametrize(
    ("database", "level", "says"),
    [
        (Database("db", "0002", ("0001", "0002")), "ok", "can be written, revision 0002"),
        (Database("db", None, ("0001",)), "ok", "is empty"),
        (Database("db", "0001", ("0001", "0002")), "warning", "at revision 0001, this program's is 0002"),
        (Database("db", "0009", ("0001", "0002")), "problem", "at revision 0009, this program knows up to 0002"),
        (Database("db", None, ("0001",), "read-only file"), "problem", "db: read-only file"),
    ],
    ids=["well", "fresh", "older", "newer", "away"],
)
def test_database(database: Database, level: str, says: str) -> None:
    finding = stock.database(database)
    assert finding.level == level
    assert says in finding.says


def test_a_clock_before_the_newest_record_is_wrong() -> None:
    then = 1_700_000_000_000_000
    (late,) = stock.clock(Facts(clock=Clock(then, then + DAY, synchronised=True)))
    assert late.level is Level.PROBLEM
    (drifting,) = stock.clock(Facts(clock=Clock(then, then - DAY, synchronised=False)))
    assert (drifting.level, "nothing keeps it right" in drifting.says) == (Level.WARNING, True)
    assert [f.level for f in stock.clock(Facts(clock=Clock(then, then - DAY)))] == [Level.OK]


def test_another_dhcp_server_is_a_problem_unless_we_serve_beside_it() -> None:
    heard = [Probed("eth1", (Answer("10.12.1.9", "52:54:00:00:00:09", "10.12.1.77"), Answer("10.12.1.2")))]
    (rogue,) = network.other_dhcp(heard, [ETH1])
    assert rogue.level is Level.PROBLEM
    assert rogue.says == (
        "another DHCP server answers on eth1: 10.12.1.9 (MAC 52:54:00:00:00:09), it offers 10.12.1.77"
    )
    beside = replace(ETH1, dhcp="proxy")
    assert [f.level for f in network.other_dhcp(heard, [beside])] == [Level.OK]
    (nobody,) = network.other_dhcp([Probed("eth1")], [beside])
    assert nobody.level is Level.PROBLEM
    (unasked,) = network.other_dhcp([Probed("eth1", failed="Operation not permitted")], [ETH1])
    assert unasked.level is Level.UNSEEN


def test_what_is_fetched_must_be_the_file() -> None:
    findings = network.fetched(
        [
            Fetch("tftp", "tftp://10.12.1.2/snponly.efi", same=True),
            Fetch("tftp", "tftp://10.12.1.2/undionly.kpxe", failed="Timed-out waiting for traffic"),
            Fetch("http", "http://10.12.1.2/loaders/snponly.efi", same=False),
        ],
        serving=True,
    )
    assert told(list(findings)) == [
        ("problem", "tftp://10.12.1.2/undionly.kpxe cannot be fetched: Timed-out waiting for traffic"),
        ("problem", "http://10.12.1.2/loaders/snponly.efi is not the file on disk"),
        ("ok", "boot files fetched as a machine would, byte for byte: 1 by TFTP"),
    ]


def test_every_finding_that_is_not_well_has_a_remedy() -> None:
    """A host on which everything is wrong."""
    facts = Facts(
        wires=(Wire("eth9", exists=False), Wire("eth8", up=False), replace(ETH1, addresses=(), reverse_path=1)),
        ports=(DHCP, TFTP, PAGE),
        listeners=(Listener("udp", "*", 67), Listener("tcp", "*", 8080, program="nginx", pid=1)),
        loaders=(Loader("snponly.efi", "cannot be read (No such file or directory)"),),
        clock=Clock(1, 2),
        disk=Disk("/d", exists=False),
        database=Database("db", None, ("0001",), "gone"),
        roles=(RoleState("simple", "flatcar", used=True), RoleState("odd", "", fault="role.yaml: line 3")),
        routes={IPv4Network("10.13.0.0/24"): ""},
        neighbours_expected=9999,
        neighbour_limits=(512, 1024),
    )
    findings = checks.examine(facts)
    assert {f.check for f in findings} == {
        *("wire", "ports", "rights", "firewall", "routes", "neighbours", "loaders", "images", "roles", "clock"),
        *("disk", "database"),
    }
    assert [f for f in findings if f.level is not Level.OK and not f.remedy] == []
    assert exit_code(findings) == 1
    assert [f.level for f in worst_first(findings)][-1] is Level.OK
    assert exit_code([f for f in findings if f.level is not Level.PROBLEM]) == 0
