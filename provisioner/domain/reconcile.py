"""Three accounts of the same machines: the vendor's list, what the BMCs tell, whom DHCP saw. Where they disagree.

Pure. Every finding names both sides and proposes a fix; it changes nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from provisioner.domain.mac import Mac


@dataclass(frozen=True, slots=True)
class Account:
    """One machine as one side tells it."""

    name: str
    macs: tuple[Mac, ...]
    bmc: str = ""
    """Address of its BMC."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement. ``kind``: duplicate, swap, typo, differs, missing or extra."""

    kind: str
    machines: tuple[str, ...]
    listed: str
    """What the vendor's list says; empty if nothing."""
    found: str
    """What BMC or DHCP say; empty if nothing."""
    fix: str

    @property
    def contradicts(self) -> bool:
        """Do two sides say different things of one machine? Who is missing or extra is only unknown to one."""
        return self.kind in CONTRADICTIONS


CONTRADICTIONS = ("duplicate", "swap", "typo", "differs")


def reconcile(listed: Sequence[Account], harvested: Sequence[Account], seen: Collection[Mac] = ()) -> list[Finding]:
    """All findings: duplicates first, then each row of the list in its order, then what no row explains."""
    findings = list(_duplicates(listed))
    holders = {mac: account for account in harvested for mac in account.macs}
    by_bmc = {account.bmc: account for account in harvested if account.bmc}
    in_list = {mac for account in listed for mac in account.macs}
    pairs = [(row, _partner(row, by_bmc, holders)) for row in listed]
    explained = {id(partner) for _, partner in pairs if partner is not None}
    strangers = {mac for mac in seen if mac not in in_list and mac not in holders}
    rows_with: dict[Mac, list[tuple[Account, Account | None]]] = {}
    for pair in pairs:
        for mac in pair[0].macs:
            rows_with.setdefault(mac, []).append(pair)
    swapped: set[str] = set()
    for row, partner in pairs:
        if row.name in swapped:
            continue
        if partner is None:
            finding = _unharvested(row, seen, strangers)
        elif set(row.macs) & set(partner.macs) or not (row.macs and partner.macs):
            finding = None
        elif other := _swap(row, partner, rows_with):
            swapped.add(other.name)
            finding = Finding(
                "swap",
                (row.name, other.name),
                f"{row.name} behind BMC {row.bmc}, {other.name} behind BMC {other.bmc}",
                f"the BMCs tell the MACs the other way round ({_spelled(partner.macs)} is behind {row.bmc})",
                f"exchange the BMC addresses of {row.name} and {other.name} in the list, or the boards",
            )
        else:
            finding = _differing(row, partner)
        if finding is not None:
            findings.append(finding)
            strangers -= {mac for mac in _near(row) if str(mac) in finding.found} if strangers else set()
    findings += [
        Finding(
            "extra",
            (account.name,),
            "",
            f"BMC {account.bmc} tells {_spelled(account.macs) or 'no MAC'}",
            "add it to the list, or unplug it",
        )
        for account in harvested
        if id(account) not in explained
    ]
    findings += [
        Finding("extra", (), "", f"DHCP saw {mac}", "find it by its switch port; add it, or unplug it")
        for mac in sorted(strangers)
    ]
    return findings


def one_digit_off(one: Mac, other: Mac) -> bool:
    """Do they differ in exactly one of twelve hexadecimal digits, or in two neighbours exchanged?"""
    left, right = one.hex(), other.hex()
    places = [n for n in range(12) if left[n] != right[n]]
    if len(places) == 2 and places[1] == places[0] + 1:
        return left[places[0]] == right[places[1]] and left[places[1]] == right[places[0]]
    return len(places) == 1


def _duplicates(listed: Sequence[Account]) -> Iterator[Finding]:
    holders: dict[str, list[str]] = {}
    for row in listed:
        for value in (*(f"MAC {mac}" for mac in row.macs), *((f"BMC {row.bmc}",) if row.bmc else ())):
            holders.setdefault(value, []).append(row.name)
    for value, names in holders.items():
        if len(names) > 1:
            yield Finding(
                "duplicate",
                tuple(names),
                f"{value} is listed for {' and '.join(names)}",
                "",
                "ask the vendor whose it is, and correct the other row",
            )


def _partner(row: Account, by_bmc: Mapping[str, Account], holders: Mapping[Mac, Account]) -> Account | None:
    """Whom the row means: by its BMC's address if it names one, else by a MAC."""
    if row.bmc:
        return by_bmc.get(row.bmc)
    return next((holders[mac] for mac in row.macs if mac in holders), None)


def _swap(
    row: Account, partner: Account, rows_with: Mapping[Mac, Sequence[tuple[Account, Account | None]]]
) -> Account | None:
    """The other row, if each one's MACs are behind the other one's BMC."""
    for mac in partner.macs:
        for other, theirs in rows_with.get(mac, ()):
            if other is not row and theirs is not None and set(row.macs) & set(theirs.macs):
                return other
    return None


def _differing(row: Account, partner: Account) -> Finding:
    for listed in row.macs:
        for told in partner.macs:
            if one_digit_off(listed, told):
                return Finding(
                    "typo",
                    (row.name,),
                    f"MAC {listed}",
                    f"BMC {partner.bmc} tells {told}",
                    f"write {told} for {row.name} in the list",
                )
    return Finding(
        "differs",
        (row.name,),
        f"MAC {_spelled(row.macs)}",
        f"BMC {partner.bmc} tells {_spelled(partner.macs)}",
        f"look whether {row.name}'s board or its BMC address was exchanged; then correct the list",
    )


def _unharvested(row: Account, seen: Collection[Mac], strangers: Collection[Mac]) -> Finding | None:
    """No BMC speaks for it: DHCP may."""
    if any(mac in seen for mac in row.macs):
        return None
    for mac in _near(row) if strangers else ():
        if mac in strangers:
            listed = next(each for each in row.macs if one_digit_off(each, mac))
            return Finding("typo", (row.name,), f"MAC {listed}", f"DHCP saw {mac}", f"write {mac} for {row.name}")
    where = f"BMC {row.bmc} and " if row.bmc else ""
    return Finding(
        "missing",
        (row.name,),
        f"{where}MAC {_spelled(row.macs)}",
        "",
        "check its power and cables; harvest again, or boot it once so that DHCP sees it",
    )


def _near(row: Account) -> Iterator[Mac]:
    """All MACs one typing mistake away: some two hundred each, where comparing with everybody is the square."""
    for mac in row.macs:
        digits = mac.hex()
        for place in range(12):
            for digit in "0123456789abcdef":
                yield Mac(bytes.fromhex(digits[:place] + digit + digits[place + 1 :]))
            if place:
                pair = digits[place] + digits[place - 1]
                yield Mac(bytes.fromhex(digits[: place - 1] + pair + digits[place + 1 :]))


def _spelled(macs: Sequence[Mac]) -> str:
    return ", ".join(map(str, macs))
