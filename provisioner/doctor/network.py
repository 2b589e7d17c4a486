"""What the wires and this host's network show, judged. Pure, like ``stock``."""

from collections.abc import Iterator, Sequence

from provisioner.doctor.facts import Facts, Fetch, Listener, Port, Probed, Wire
from provisioner.doctor.findings import Finding, ok, problem, unseen, warning
from provisioner.doctor.firewall import droppers, fate

_RIGHTS = {
    "cap_net_bind_service": "to answer on ports 67, 69 and 80",
    "cap_net_raw": "to answer machines that have no address yet",
}


def wires(seen: Sequence[Wire]) -> Iterator[Finding]:
    if not seen:
        yield problem(
            "wire",
            "no interface is configured",
            'write `interface = "eth1"` into the settings file, or `provisioner serve --interface eth1`',
        )
    for wire in seen:
        yield _wire(wire)


def _wire(wire: Wire) -> Finding:
    name = wire.name
    if not wire.exists:
        return problem(
            "wire", f"interface {name} does not exist", f"interfaces here: {', '.join(wire.others) or 'none'}"
        )
    if not wire.up:
        return problem("wire", f"interface {name} is down", f"`ip link set {name} up`")
    if not wire.addresses:
        return problem("wire", f"interface {name} has no IPv4 address", f"`ip addr add 10.12.1.2/24 dev {name}`")
    has = ", ".join(str(address) for address in wire.addresses)
    if wire.stated and wire.stated not in {address.ip for address in wire.addresses}:
        return problem(
            "wire",
            f"interface {name} does not have the address {wire.stated} of the settings; it has {has}",
            f"correct `address`, or `ip addr add {wire.stated}/24 dev {name}`",
        )
    if not wire.carrier:
        return warning("wire", f"interface {name} has {has}, but no carrier", "plug in its cable")
    return ok("wire", f"interface {name} is up and has {has}, DHCP {wire.dhcp}")


def ports(needed: Sequence[Port], listeners: Sequence[Listener] | None) -> Iterator[Finding]:
    """One finding for all that are well, one for each that is not."""
    if listeners is None:
        yield unseen("ports", "who listens on which port cannot be seen", "install iproute2, which has `ss`")
        return
    ours, free = [], []
    for port in needed:
        holder = next((listener for listener in listeners if _collide(port, listener)), None)
        named = f"{port.protocol.upper()} {port.number} ({port.service})"
        if holder is None:
            free.append(named)
        elif holder.ours:
            ours.append(named)
        else:
            if holder.pid == 1:
                yield _held_open(named)
                continue
            who = (
                f"{holder.program} (pid {holder.pid})"
                if holder.program
                else "a process that cannot be seen from here (another user's, or in a container)"
            )
            move = f", or move ours with {port.setting}" if port.setting else ""
            stop = (
                f"`systemctl disable --now {holder.unit}`"
                if holder.unit
                else f"`kill {holder.pid}`"
                if holder.program
                else "find it as root with `ss -lnp`"
            )
            yield problem("ports", f"{named} is taken by {who}", f"stop it: {stop}{move}")
    if ours:
        yield ok("ports", f"the appliance listens on {', '.join(ours)}")
    if ours and free:
        yield problem(
            "ports",
            f"the appliance runs, but nobody listens on {', '.join(free)}",
            "if it was started just now, ask again in ten seconds; otherwise that service ended, its log says why; "
            "`systemctl restart provisioner.target`, or `provisioner serve`",
        )
    elif free:
        yield ok("ports", f"free for the appliance, which does not run: {', '.join(free)}")


def _held_open(named: str) -> Finding:
    """systemd keeps sockets open for services that it starts."""
    return problem(
        "ports",
        f"{named} is held by a systemd socket unit, and the appliance does not answer there",
        "`systemctl list-sockets` names it: if provisioner-web.socket, `systemctl restart provisioner.target`; "
        "else stop that unit",
    )


def _collide(port: Port, listener: Listener) -> bool:
    if (port.protocol, port.number) != (listener.protocol, listener.port):
        return False
    if port.device and listener.device and port.device != listener.device:
        return False
    everywhere = ("", "*", "0.0.0.0", "[::]", "::")  # noqa: S104 - compared, not bound
    return port.address in everywhere or listener.address in everywhere or port.address == listener.address


def running(facts: Facts) -> bool:
    """Does the appliance answer DHCP or TFTP here?"""
    return any(listener.ours and listener.port in (67, 69) for listener in facts.listeners or ())


def rights(facts: Facts) -> Iterator[Finding]:
    if running(facts):
        yield ok("rights", "the packets service has the rights it needs: it answers")
        return
    lacking = [f"{name.upper()} {why}" for name, why in _RIGHTS.items() if name not in facts.capabilities]
    if lacking:
        yield warning(
            "rights",
            f"this user could not serve: it lacks {' and '.join(lacking)}",
            "run `provisioner serve` as root or by the systemd units, which give just these two",
        )
    else:
        yield ok("rights", "this user may bind low ports and send raw frames")


def firewall(facts: Facts) -> Iterator[Finding]:
    if facts.ruleset is None:
        yield unseen(
            "firewall", "the firewall's rules cannot be read", "run `provisioner doctor` as root, with nftables"
        )
        return
    shut: list[tuple[str, Port]] = []
    unclear: list[tuple[str, Port]] = []
    for wire in facts.wires:
        for port in facts.ports:
            if port.service == "page" or (port.device and port.device != wire.name):
                continue
            if port.address and wire.address and port.address != str(wire.address):
                continue
            becomes = fate(facts.ruleset, wire.name, port.protocol, port.number)
            if becomes != "accept":
                (shut if becomes == "drop" else unclear).append((wire.name, port))
    for name, port in shut:
        rule = f"iifname {name} {port.protocol} dport {port.number} accept"
        chains = droppers(facts.ruleset, name, port.protocol, port.number)
        yield problem(
            "firewall",
            f"the firewall drops {port.protocol.upper()} {port.number} ({port.service}) on {name}",
            " and ".join(f"`nft insert rule {chain} {rule}`" for chain in chains)
            + ", and in /etc/nftables.conf, so that it stays",
        )
    if unclear:
        named = ", ".join(f"{port.protocol.upper()} {port.number} on {name}" for name, port in unclear)
        yield warning(
            "firewall",
            f"the firewall may drop {named}: its rules ask for more than can be judged here",
            "`nft list ruleset` shows them; watch `nft monitor trace` while a machine boots",
        )
    if not shut and not unclear:
        yield ok("firewall", "the firewall lets machines reach every port")


def reverse_path(facts: Facts) -> Iterator[Finding]:
    """Relayed requests come from networks that are not ours: answers need a way back, as does rp_filter."""
    if any(not wire.addresses for wire in facts.wires):
        yield unseen("routes", "a wire has no address yet, so nothing leads anywhere", "give it one, then again")
        return
    names = {wire.name for wire in facts.wires}
    strict = [wire.name for wire in facts.wires if wire.reverse_path == 1]
    sound = True
    for prefix, device in facts.routes.items():
        if not device:
            sound = False
            yield problem(
                "routes",
                f"there is no route to subnet {prefix}, which is on no wire of ours",
                f"`ip route add {prefix} via ROUTER`, or remove it: `provisioner subnet remove {prefix}`",
            )
        elif device not in names and strict:
            sound = False
            yield warning(
                "routes",
                f"answers to subnet {prefix} leave by {device}, and {', '.join(strict)} drops what comes from it "
                "(rp_filter is strict)",
                f"route it by the wire its relay uses, or `sysctl -w net.ipv4.conf.{strict[0]}.rp_filter=2` "
                "(and net.ipv4.conf.all.rp_filter=2)",
            )
    shared = [
        (one.name, other.name)
        for index, one in enumerate(facts.wires)
        for other in facts.wires[index + 1 :]
        if any(a.network.overlaps(b.network) for a in one.addresses for b in other.addresses)
    ]
    for one, other in shared:
        sound = False
        yield warning(
            "routes",
            f"{one} and {other} are in the same network: answers may leave by the wrong one"
            + (", and rp_filter is strict" if {one, other} & set(strict) else ""),
            "serve that network by one interface, or bond the two",
        )
    if sound:
        yield ok("routes", "every subnet is on a wire or has a route")


def neighbour_table(facts: Facts) -> Iterator[Finding]:
    if facts.neighbour_limits is None:
        yield unseen(
            "neighbours", "the limits of the neighbour table cannot be read here", "look on the host itself"
        )
        return
    soft, hard = facts.neighbour_limits
    expected = facts.neighbours_expected
    wanted = max(4096, 2 * expected)
    raise_it = (
        f"`sysctl -w net.ipv4.neigh.default.gc_thresh2={wanted} net.ipv4.neigh.default.gc_thresh3={2 * wanted}`, "
        "and in /etc/sysctl.d"
    )
    if expected > hard:
        yield problem(
            "neighbours",
            f"the neighbour table holds {hard} entries, {expected} machines, BMCs and pool addresses are listed: "
            "answers to some will be dropped",
            raise_it,
        )
    elif expected > soft:
        yield warning(
            "neighbours",
            f"the neighbour table is cleared from {soft} entries on, and {expected} are to be expected",
            raise_it,
        )
    else:
        yield ok("neighbours", f"the neighbour table has room: {expected} expected, limit {hard}")


def other_dhcp(probed: Sequence[Probed], wires: Sequence[Wire]) -> Iterator[Finding]:
    """Who else answers DHCP. An answer of our own is none."""
    modes = {wire.name: wire.dhcp for wire in wires}
    ours = {str(address.ip) for wire in wires for address in wire.addresses}
    for wire in probed:
        if wire.failed:
            yield unseen("other-dhcp", f"who answers DHCP on {wire.wire} was not seen: {wire.failed}", _ASK_AS_ROOT)
            continue
        others = [answer for answer in wire.answers if answer.server not in ours]
        mode = modes.get(wire.wire, "authoritative")
        for other in others:
            at = f" (MAC {other.mac})" if other.mac else ""
            offered = f", it offers {other.offered}" if other.offered else ""
            if mode == "authoritative":
                yield problem(
                    "other-dhcp",
                    f"another DHCP server answers on {wire.wire}: {other.server}{at}{offered}",
                    'stop it, move it to another VLAN, or serve beside it: `dhcp = "proxy"` for this interface',
                )
            else:
                yield ok(
                    "other-dhcp", f"{other.server}{at} gives the addresses on {wire.wire}, as DHCP {mode} wants it"
                )
        if not others and mode == "proxy":
            yield problem(
                "other-dhcp",
                f'no DHCP server answers on {wire.wire}, but `dhcp = "proxy"` leaves addresses to one',
                'start that server, or set `dhcp = "authoritative"`',
            )
        elif not others:
            yield ok("other-dhcp", f"no other DHCP server answers on {wire.wire}")


_ASK_AS_ROOT = "run `provisioner doctor` as root, in the network namespace of that interface"


def fetched(fetches: Sequence[Fetch], *, serving: bool) -> Iterator[Finding]:
    """What machines would get, fetched from ourselves."""
    if not serving:
        yield unseen("fetch", "nothing was fetched: the appliance does not run", "`provisioner serve`, then again")
        return
    for fetch in fetches:
        if fetch.failed:
            answered = fetch.failed.startswith("status ")
            look = "the port is open: see what is said of images and loaders here, and the appliance's log"
            remedy = look if answered else _WAYS[fetch.way]
            yield problem("fetch", f"{fetch.url} cannot be fetched: {fetch.failed}", remedy)
        elif not fetch.same:
            yield problem(
                "fetch",
                f"{fetch.url} is not the file on disk",
                "restart the appliance; something else may answer there",
            )
    good: dict[str, int] = {}
    for fetch in fetches:
        good[fetch.way] = good.get(fetch.way, 0) + (fetch.same and not fetch.failed)
    told = ", ".join(f"{count} by {way.upper()}" for way, count in good.items() if count)
    if told:
        yield ok("fetch", f"boot files fetched as a machine would, byte for byte: {told}")


_WAYS = {
    "tftp": "see the appliance's log; is UDP 69 open, and the ports above 1023 that answers come from?",
    "http": "see the appliance's log; are TCP 80 and 8081 open?",
}
