"""Writes docs/dhcp.md: the rules that the responder keeps, and the tests that prove each.

`python -m tests.dhcp.conformance > docs/dhcp.md`; a test fails when the page is not what this writes.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "dhcp.md"

RULES: Mapping[str, str] = {
    "dhcp-01": "A client without address gets a broadcast if it asks for that, else a frame without ARP.",
    "dhcp-02": "Behind a relay the answer goes to the relay's port 67; a client with an address is answered there.",
    "dhcp-03": "A NAK is broadcast, or by a relay with the broadcast bit, and carries no address, time or file.",
    "dhcp-04": "A REQUEST that names another server is met with silence, never a NAK; our offer is free again.",
    "dhcp-05": "INIT-REBOOT: a wrong network or address is refused; a client without record meets silence.",
    "dhcp-06": "RENEWING and REBINDING are answered at ciaddr and extend only the client's own address.",
    "dhcp-07": "A lost lease is recorded anew when its client renews and nobody else has the address.",
    "dhcp-08": "A declined address is held back, and told.",
    "dhcp-09": "RELEASE frees; the binding is remembered.",
    "dhcp-10": "INFORM gets options without address or times, and allocates nothing.",
    "dhcp-11": "Addresses: the current, the previous, the requested, then a free one; offers are reserved.",
    "dhcp-12": "Option 54 is our address on the receiving interface; any of our addresses means us.",
    "dhcp-13": "xid, flags, giaddr and chaddr are echoed; hops and secs are zero.",
    "dhcp-14": "The client identifier comes back as it was sent, and only then.",
    "dhcp-15": "Replies have at least 300 bytes and at most what option 57 allows, 1,472 at the most.",
    "dhcp-16": "Option overload is read, and never written: old EDK2 takes it for a boot file name.",
    "dhcp-17": "Options in parts are joined; values over 255 bytes are split.",
    "dhcp-18": "What option 55 lists comes first; mask, lease, T1 and T2 are always sent.",
    "dhcp-19": "A ciaddr in DISCOVER or beside option 50 is not believed.",
    "dhcp-20": "Option 82 comes back last, unchanged; link selection and server id override are followed.",
    "dhcp-21": "A relay of a network that is not configured gets no answer.",
    "dhcp-22": "The MAC is the identity, whatever the client identifier.",
    "dhcp-23": "Other lengths of a hardware address harm nobody.",
    "dhcp-24": "secs decides nothing.",
    "dhcp-25": "Netboot clients are known by option 60; 60 and 97 come back; a missing 97 is tolerated.",
    "dhcp-26": "The first known architecture of option 93 counts; unknown ones get no boot file, and why.",
    "dhcp-27": "As the DHCP server: option 43 tells PXE to load the file given, without prompt or 4011.",
    "dhcp-28": "Beside another server: an offer without address; 43 for BIOS only, UEFI asks on 4011.",
    "dhcp-29": "Port 4011 answers REQUEST and INFORM at the datagram's source port.",
    "dhcp-30": "PXE's encapsulated options: a malformed one never loops; the chosen boot item is repeated.",
    "dhcp-31": "The boot file is in file and option 67, siaddr is set, option 13 is never sent.",
    "dhcp-32": "HTTP boot: HTTPClient is echoed, the URL is absolute with an address in it.",
    "dhcp-33": "What HTTP boot fetches has a Content-Length, no redirect and no empty header.",
    "dhcp-34": "iPXE is known by its user class, raw or as RFC 3004 says, or by option 175.",
    "dhcp-35": "iPXE gets the script and never a loader again.",
    "dhcp-36": "iPXE is told not to wait for proxies.",
    "dhcp-37": "An offer lasts as long as ROMs take to ask for it.",
    "dhcp-38": "Whether an address is in use is asked beside the answer, not before it.",
    "dhcp-39": "A delay before replies, for ROMs that miss instant ones.",
    "dhcp-40": "The receiving interface decides the subnet, and the answer leaves by it.",
    "dhcp-41": "Packets of real clients, directly and by relay, are answered.",
}

NOT_FOLLOWED: Mapping[str, str] = {
    "dhcp-39": "Not followed: it costs every other client its time, and no ROM that was tried here needs it.",
}

_INTRODUCTION = """# DHCP

One responder for each served interface, in one of three modes (`dhcp =` in `[[interfaces]]`):

- **authoritative**: the only DHCP server of the segment.
- **proxy**: another server gives the addresses; this one tells netboot clients what to load, on ports 67 and
  4011. The other server must give each machine the address that is reserved for it here, or its install is not
  handed out.
- **off**.

Listed machines have reserved addresses: they are answered from memory, with no database on the way. A MAC that
is not listed, and a NIC without a reservation, gets what its subnet says (`provisioner subnet set PREFIX
--unknown ignore|address|enrol|approve --pool FIRST-LAST`). Leases are in `leases.db` in `data_dir`, on disk
before they are acknowledged (many that come at once together). When that fails, because the disk is full or
something holds the file, they are refused with the reason, a banner on the page and
`provisioner_dhcp_leases_refused` say so until a write succeeds, and listed machines are served as before. An offer
keeps its address for 20 seconds. While it travels, ARP asks who has the address; if somebody answers it is put
aside for an hour, as it is after a DECLINE. Behind a relay only the client itself can find that out.

## Who is not listed

| `--unknown` | an unlisted MAC | a netboot of it |
|---|---|---|
| `ignore` | gets nothing and is noted | nothing |
| `address` | gets an address of the pool | nothing |
| `enrol` | gets an address; who boots from the network is listed as `server-MAC` | is described by its loader |
| `approve` | the same, and nothing else happens before `provisioner machine approve` | is described by its loader |

The loader (iPXE) tells vendor, model, serial, UUID and the MACs of net0 to net7; it adds, and never overwrites what
somebody stated. Then it boots the role `discover`, if there is one (`format: none`; its live system finds the
appliance in the kernel argument `provisioner.url=`), else it shows why not and asks again after five minutes.
Role and address (`machine approve NAME --role R --ip A`, `machine set`, `allocate apply`) make the machine `ready`.
At most 1,000 newcomers wait; further ones are told in the events. Only what boots from the network is listed.

**Switch ports.** A relay's option 82 says where a machine is plugged in (remote-id, circuit-id, as in `sw3 17`); it
is kept with the interface. `provisioner slot set node-17 --switch-port 'sw3 17'` makes it an identity: an unlisted
board that asks there is that slot's machine when the slot is empty, whatever the policy. A board at the port of a
slot with another one in it, or a machine that boots from another port than its slot's, is quarantined with the
reason.

## Option sets

`--option NAME=VALUE` for a subnet, a slot or a machine, `dhcp:` in `role.yaml`, `options` in the API. The narrower
wins, option by option: subnet, role, machine. `NAME=` takes one away.

| name | code | example |
|---|---|---|
| `router`, `dns`, `ntp`, `log-servers` | 3, 6, 42, 7 | `ntp=10.12.1.4, 10.12.1.5` |
| `domain`, `domain-search` | 15, 119 (RFC 3397) | `domain-search=rack.example, example` |
| `mtu` | 26 | `mtu=9000` |
| `classless-routes` | 121 (RFC 3442), 249 to who asks for that | `classless-routes=10.0.0.0/8 via 10.12.1.9` |
| `vendor` | 43 | `vendor=1=hex:0a0b, 2=text:WORDS, 3=ip:10.12.1.4` |
| `time-zone` | 101 | `time-zone=Europe/Zurich` |
| a number | that | `224=hex:0a0b`, `224=text:WORDS`, `224=ip:10.12.1.4` |

For a subnet, `router`, `dns`, `ntp` and `domain` are its own fields (`--gateway`, `--dns`, …). What the protocol
or the boot depends on (53, 54, 67, …) cannot be stated; a PXE client's option 43 stays what makes it boot. A client
is sent what its option 55 lists, besides mask and router; one that lists nothing gets what there is. Who reads
classless routes ignores the router (RFC 3442), so the default route is added to them unless it is stated. These are
DHCP's words: an installed system with a static address takes its network from the subnet.

## Pace and other servers

`[dhcp]` paces clients that are not listed, on each interface: `newcomers_per_second` (50) may start, and
`unlisted_per_second` (1000) packets of theirs are looked at; ten times as many at once. `probe_seconds` (300)
is how often an authoritative interface is searched for other servers; one that answers becomes an event
`dhcp.rogue`, the metric `provisioner_dhcp_rogue_servers` and a banner on the page, with its address and MAC. The
probe listens for six seconds, because dnsmasq pings an address before it offers it. Its clients are left alone.

Every packet is counted in `/metrics` as `provisioner_dhcp_packets_total{interface, decision, cause}`; the
sentence that says why is on the machine's timeline.

`make mutants` (part of `make test-long`) changes the codecs and the decisions in every small way; what the tests do
not notice is in [mutants.md](mutants.md).

## Rules and their tests

This list is written by `python -m tests.dhcp.conformance > docs/dhcp.md`. A test runs wherever its name says;
those on a real wire need root.

| Rule | What holds | Tests |
|---|---|---|
"""


def marked() -> dict[str, list[str]]:
    """Test functions by the rule that they are marked with, as `path::name`."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for rule in _rules(node):
                    found.setdefault(rule, []).append(f"{file.relative_to(TESTS)}::{node.name}")
    return found


def _rules(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule":
            yield from (str(argument.value) for argument in decorator.args if isinstance(argument, ast.Constant))


def page() -> str:
    """The whole page."""
    tests = marked()
    rows = []
    for rule, words in RULES.items():
        proofs = "<br>".join(f"`{name}`" for name in sorted(tests.get(rule, [])))
        rows.append(f"| {rule} | {words} | {proofs or NOT_FOLLOWED.get(rule, '')} |")
    return _INTRODUCTION + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
