"""Facts to findings. Pure: every sentence here can be read in a test without a network."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from provisioner.doctor.facts import Database, Facts, Fetch, Listener, Port, Probed, Wire
from provisioner.doctor.findings import Finding, ok, problem, unseen, warning
from provisioner.doctor.firewall import fate

GIB = 1 << 30
_RIGHTS = {
    "cap_net_bind_service": "to answer on ports 67, 69 and 80",
    "cap_net_raw": "to answer machines that have no address yet",
}


def examine(facts: Facts) -> list[Finding]:
    """All findings, in the order of a machine's way through."""
    return [
        *wires(facts.wires),
        *ports(facts.ports, facts.listeners),
        *rights(facts),
        *firewall(facts),
        *reverse_path(facts),
        *neighbour_table(facts),
        *loaders(facts),
        *images(facts),
        *roles(facts),
        *clock(facts),
        *disk(facts),
        *([database(facts.database)] if facts.database else []),
    ]


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
            who = f"{holder.program} (pid {holder.pid})" if holder.program else "a process of another user"
            move = f", or move ours with {port.setting}" if port.setting else ""
            stop = (
                f"`systemctl disable --now {holder.program}`"
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
            "see its log: that service ended; `provisioner serve` starts it again and says why it ends",
        )
    elif free:
        yield ok("ports", f"free for the appliance, which does not run: {', '.join(free)}")


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
        yield problem(
            "firewall",
            f"the firewall drops {port.protocol.upper()} {port.number} ({port.service}) on {name}",
            f"`nft insert rule inet filter input iifname {name} {port.protocol} dport {port.number} accept` "
            "(with the names of your table and chain), and in /etc/nftables.conf",
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


def loaders(facts: Facts) -> Iterator[Finding]:
    if not facts.loaders:
        yield problem("loaders", "no loader is there for machines to start with", "`make setup` collects them")
        return
    bad = [loader for loader in facts.loaders if loader.fault]
    for loader in bad:
        yield problem("loaders", f"loader {loader.name} {loader.fault}", "`make setup` collects them again")
    if not bad:
        yield ok("loaders", f"{len(facts.loaders)} loaders are there, as they were collected")


def images(facts: Facts) -> Iterator[Finding]:
    there = {(image.name, image.version): image for image in facts.images}
    names = {image.name for image in facts.images}
    missing: dict[str, list[str]] = {}
    for role in facts.roles:
        wanted = f"{role.image} {role.version}".strip()
        absent = (role.image, role.version) not in there if role.version else role.image not in names
        if role.used and absent:
            missing.setdefault(wanted, []).append(role.name)
    for wanted, users in missing.items():
        yield problem(
            "images",
            f"image {wanted} is not imported, role{'s' if len(users) > 1 else ''} {', '.join(users)} "
            f"need{'' if len(users) > 1 else 's'} it",
            f"`provisioner image import DIR --name {wanted.split()[0]}`, or `provisioner image fetch --help`",
        )
    broken = [image for image in facts.images if image.problems]
    for image in broken:
        yield problem(
            "images",
            f"image {image.name} {image.version}: {'; '.join(image.problems)}",
            f"import it again: `provisioner image import DIR --name {image.name} --version {image.version}`",
        )
    if not facts.images and not missing:
        yield warning(
            "images", "no image is imported yet", "`provisioner image import DIR --name flatcar`, or `image fetch`"
        )
    elif not missing and not broken:
        yield ok("images", f"{len(facts.images)} image versions, all complete")


def roles(facts: Facts) -> Iterator[Finding]:
    if not facts.roles:
        yield problem("roles", "there is no role", "a role is a folder with a role.yaml in `cloud_configs`")
    faulty = [role for role in facts.roles if role.fault]
    for role in faulty:
        yield problem(
            "roles", f"role {role.name}: {role.fault}", f"mend it, then `provisioner role validate {role.name}`"
        )
    if facts.roles and not faulty:
        yield ok("roles", f"{len(facts.roles)} roles compile: {', '.join(role.name for role in facts.roles)}")


def clock(facts: Facts) -> Iterator[Finding]:
    if facts.clock is None:
        return
    shown = _day(facts.clock.now)
    if facts.clock.now < facts.clock.never_before:
        yield problem(
            "clock",
            f"the clock says {shown}, but the newest record here is of {_day(facts.clock.never_before)}; "
            "machines set theirs by it",
            "`timedatectl set-time '2026-01-31 12:00:00'`, or `systemctl enable --now systemd-timesyncd`",
        )
    elif facts.clock.synchronised is False:
        yield warning(
            "clock",
            f"the clock says {shown} and nothing keeps it right; machines set theirs by it",
            "`apt-get install chrony`, with a time server of the rack",
        )
    else:
        yield ok("clock", f"the clock says {shown}")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def disk(facts: Facts) -> Iterator[Finding]:
    if facts.disk is None:
        return
    seen = facts.disk
    if not seen.exists:
        yield warning("disk", f"data_dir {seen.path} does not exist yet", "`provisioner serve` makes it, as root")
        return
    free = f"{seen.free / GIB:.1f} of {seen.size / GIB:.0f} GiB free in {seen.path}"
    clear = "`provisioner image list`, then `provisioner image remove NAME VERSION` for what no role uses"
    if not seen.writable:
        yield problem("disk", f"data_dir {seen.path} cannot be written by this user", "run as root or as its owner")
    elif seen.free < GIB // 10 or seen.free_files < 100:
        what = "disk full" if seen.free < GIB // 10 else "no inodes left"
        yield problem("disk", f"{what}: {free}; leases and events cannot be stored", clear)
    elif seen.free < GIB or seen.free * 20 < seen.size:
        yield warning("disk", free, clear)
    else:
        yield ok("disk", free)


def database(seen: Database) -> Finding:
    newest = seen.known[-1] if seen.known else ""
    if seen.failed:
        return problem(
            "database",
            f"database {seen.shown}: {seen.failed}",
            "machines still boot from the snapshot on disk; mend database_url, the server, or the file's owner",
        )
    if seen.revision is None:
        return ok("database", f"database {seen.shown} is empty; the first command makes its tables")
    if seen.revision not in seen.known:
        return problem(
            "database",
            f"database {seen.shown} is at revision {seen.revision}, this program knows up to {newest}",
            "run the newer program that migrated it, or `provisioner db restore FILE` with a backup made before",
        )
    if seen.revision != newest:
        return warning(
            "database",
            f"database {seen.shown} is at revision {seen.revision}, this program's is {newest}",
            "`provisioner db upgrade`, which makes a backup first",
        )
    return ok("database", f"database {seen.shown} can be written, revision {seen.revision}")


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
            yield problem("fetch", f"{fetch.url} cannot be fetched: {fetch.failed}", _WAYS[fetch.way])
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
