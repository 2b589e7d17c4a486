"""What becomes of a new packet to one of our ports, read from ``nft -j list ruleset``.

No model of netfilter: it follows what can be followed (interfaces, protocols, ports, connection state) and says
``maybe`` where a rule asks for more.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Rules = Sequence[Mapping[str, Any]]
_FAMILIES = ("ip", "inet")
_ENDS = ("accept", "drop", "reject")


def fate(ruleset: Rules, device: str, protocol: str, port: int) -> str:
    """``accept``, ``drop`` or ``maybe`` for the first packet of a client that arrives at ``device``.

    Every base chain of the input hook must let it pass (nft(8): a drop in one is final, an accept is not).
    """
    fates = [fate for _, fate in _fates(ruleset, device, protocol, port)]
    return "drop" if "drop" in fates else "maybe" if "maybe" in fates else "accept"


def droppers(ruleset: Rules, device: str, protocol: str, port: int) -> list[str]:
    """The base chains that surely drop it, as ``nft insert rule`` names them: ``inet filter input``."""
    return [chain for chain, fate in _fates(ruleset, device, protocol, port) if fate == "drop"]


def _fates(ruleset: Rules, device: str, protocol: str, port: int) -> Iterator[tuple[str, str]]:
    """Each base chain of the input hook, and what it does with the packet."""
    for chain in _of(ruleset, "chain"):
        if chain.get("hook") == "input" and chain.get("family") in _FAMILIES:
            found, sure = _walk(ruleset, chain, device, protocol, port, depth=0)
            end = found or str(chain.get("policy", "accept"))
            named = f"{chain['family']} {chain['table']} {chain['name']}"
            yield named, "accept" if end == "accept" else "drop" if sure else "maybe"


def _of(ruleset: Rules, kind: str) -> Iterator[Mapping[str, Any]]:
    return (entry[kind] for entry in ruleset if kind in entry)


def _walk(
    ruleset: Rules, chain: Mapping[str, Any], device: str, protocol: str, port: int, *, depth: int
) -> tuple[str, bool]:
    """How the chain ends the packet ('' if it does not), and whether no unreadable rule came before."""
    sure = True
    for rule in _of(ruleset, "rule"):
        if any(rule.get(key) != chain.get(key) for key in ("family", "table")) or rule["chain"] != chain["name"]:
            continue
        matches = _matches(rule.get("expr", ()), device, protocol, port)
        if matches is False:
            continue
        verdict, target = _verdict(rule.get("expr", ()))
        if not verdict:
            continue
        if matches is None:
            # It may accept what a later rule or the policy drops; or drop some of what is accepted.
            sure = False
            continue
        if verdict == "return":
            return "", sure
        if verdict in _ENDS:
            return ("accept" if verdict == "accept" else "drop"), sure
        called = next((c for c in _of(ruleset, "chain") if _same(c, chain, target)), None)
        if called is None or depth > 8:
            sure = False
            continue
        end, certain = _walk(ruleset, called, device, protocol, port, depth=depth + 1)
        sure = sure and certain
        if end:
            return end, sure
    return "", sure


def _same(chain: Mapping[str, Any], beside: Mapping[str, Any], name: str) -> bool:
    return chain["name"] == name and all(chain.get(key) == beside.get(key) for key in ("family", "table"))


def _verdict(expressions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    for expression in expressions:
        for kind in (*_ENDS, "return"):
            if kind in expression:
                return kind, ""
        for kind in ("jump", "goto"):
            if kind in expression:
                return kind, str(expression[kind]["target"])
    return "", ""


def _matches(expressions: Sequence[Mapping[str, Any]], device: str, protocol: str, port: int) -> bool | None:
    """Does the rule apply? None: part of it is beyond us and the rest applies."""
    unclear = False
    for expression in expressions:
        if "xt" in expression or "limit" in expression or "vmap" in expression:
            unclear = True
        if "match" not in expression:
            continue
        answer = _match(expression["match"], device, protocol, port)
        if answer is False:
            return False
        unclear = unclear or answer is None
    return None if unclear else True


def _match(match: Mapping[str, Any], device: str, protocol: str, port: int) -> bool | None:
    left, right = match.get("left"), match.get("right")
    if not isinstance(left, Mapping) or not isinstance(match.get("op"), str):
        return None
    held = _left(left, right, device, protocol, port)
    if held is None:
        return None
    return not held if match["op"] == "!=" else held


def _left(left: Mapping[str, Any], right: Any, device: str, protocol: str, port: int) -> bool | None:
    meta, payload = left.get("meta", {}).get("key"), left.get("payload", {})
    if meta in ("iifname", "iif"):
        return _holds(right, device)
    if meta == "l4proto" or payload.get("field") == "protocol":
        return _holds(right, protocol)
    if payload.get("field") == "dport":
        return _holds(right, port) if payload.get("protocol") in (protocol, "th") else False
    if payload.get("protocol") in ("tcp", "udp", "icmp", "icmpv6") and payload["protocol"] != protocol:
        return False
    if left.get("ct", {}).get("key") == "state":
        return _holds(right, "new")
    return None


def _holds(right: Any, value: str | int) -> bool | None:
    """Is the value the right side, or in its set or range?"""
    if isinstance(right, Mapping) and "range" in right and isinstance(value, int):
        first, last = right["range"]
        return bool(first <= value <= last)
    if isinstance(right, Mapping):
        right = right.get("set")
    if isinstance(right, list):
        answers = [_holds(item, value) for item in right]
        return True if True in answers else None if None in answers else False
    if right is None or (isinstance(right, str) and right.startswith("@")):
        return None
    if isinstance(right, str) and right.endswith("*") and isinstance(value, str):
        return value.startswith(right[:-1])
    return bool(right == value)
