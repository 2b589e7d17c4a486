"""Rules as ``nft`` reads them, and what becomes of a machine's first packet."""

import json
import re
import shutil
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any

import pytest

from provisioner.doctor import network
from provisioner.doctor.facts import Facts, Port, Wire
from provisioner.doctor.findings import Finding, Level
from provisioner.doctor.firewall import fate
from tests.netns import sh, wire

RULES = {
    "open": ("table inet f { chain i { type filter hook input priority 0; policy accept; } }", "accept"),
    "policy drop": ("table inet f { chain i { type filter hook input priority 0; policy drop; } }", "drop"),
    "opened by port": (
        "table inet f { chain i { type filter hook input priority 0; policy drop; "
        "ct state established,related accept; udp dport { 67, 69 } accept; } }",
        "accept",
    ),
    "opened on another wire": (
        'table inet f { chain i { type filter hook input priority 0; policy drop; iifname "eth9" accept; } }',
        "drop",
    ),
    "opened on this wire": (
        'table inet f { chain i { type filter hook input priority 0; policy drop; iifname "br*" accept; } }',
        "accept",
    ),
    "rejected": (
        "table ip f { chain i { type filter hook input priority 0; udp dport 60-70 reject; } }",
        "drop",
    ),
    "only the other protocol": (
        "table ip f { chain i { type filter hook input priority 0; tcp dport 67 drop; } }",
        "accept",
    ),
    "in a chain of its own": (
        "table ip f { chain ours { udp dport 67 accept; } "
        "chain i { type filter hook input priority 0; policy drop; jump ours; } }",
        "accept",
    ),
    "two base chains": (
        "table ip a { chain i { type filter hook input priority 0; policy accept; } } "
        "table ip b { chain i { type filter hook input priority 5; udp dport != 69 drop; } }",
        "drop",
    ),
    "by source, which is not known": (
        "table ip f { chain i { type filter hook input priority 0; policy drop; ip saddr 10.0.0.0/8 accept; } }",
        "maybe",
    ),
}


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("nft"), reason="needs nftables (.setup/apt-test.txt)")
def test_the_fate_of_a_discover_under_rules_that_nft_itself_read() -> None:
    found: dict[str, str] = {}
    with wire() as net:
        for name, (rules, _) in RULES.items():
            sh(
                "ip",
                "netns",
                "exec",
                net.server,
                "nft",
                "flush ruleset; " + rules.replace("; }", ";\n}\n").replace("} table", "}\ntable"),
            )
            listed = sh("ip", "netns", "exec", net.server, "nft", "-j", "list", "ruleset").stdout
            found[name] = fate(json.loads(listed)["nftables"], "br0", "udp", 67)
    assert found == {name: becomes for name, (_, becomes) in RULES.items()}


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("nft"), reason="needs nftables (.setup/apt-test.txt)")
def test_the_rule_that_doctor_names_opens_the_port_as_typed() -> None:
    facts = Facts(
        wires=(Wire("br0", exists=True, up=True, carrier=True, addresses=(IPv4Interface("10.98.0.1/24"),)),),
        ports=(Port("udp", 69, "10.98.0.1", "TFTP", "tftp.port"),),
    )
    with wire() as net:
        nft = ("ip", "netns", "exec", net.server, "nft")
        rules = "table inet rack { chain inbound { type filter hook input priority 0; policy drop;\n}\n}"
        sh(*nft, rules)

        def findings() -> list[Finding]:
            listed = json.loads(sh(*nft, "-j", "list", "ruleset").stdout)["nftables"]
            return list(network.firewall(replace(facts, ruleset=tuple(listed))))

        (shut,) = findings()
        assert shut.says == "the firewall drops UDP 69 (TFTP) on br0"
        (command,) = re.findall(r"`nft ([^`]+)`", shut.remedy)
        assert command == "insert rule inet rack inbound iifname br0 udp dport 69 accept"
        sh(*nft, *command.split())
        assert [found.level for found in findings()] == [Level.OK]


def test_rules_of_iptables_that_nft_cannot_spell_are_not_guessed() -> None:
    base: dict[str, Any] = {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}
    rule = {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"xt": None}, {"accept": None}]}
    assert fate([{"chain": base}, {"rule": rule}], "eth1", "udp", 67) == "maybe"
