"""Facts to findings. Pure: every sentence can be read in a test without a network."""

from provisioner.doctor import network, stock
from provisioner.doctor.facts import Facts
from provisioner.doctor.findings import Finding


def examine(facts: Facts) -> list[Finding]:
    """All findings, in the order of a machine's way through."""
    return [
        *network.wires(facts.wires),
        *network.ports(facts.ports, facts.listeners),
        *network.rights(facts),
        *network.firewall(facts),
        *network.reverse_path(facts),
        *network.neighbour_table(facts),
        *stock.loaders(facts),
        *stock.images(facts),
        *stock.roles(facts),
        *stock.clock(facts),
        *stock.disk(facts),
        *([stock.database(facts.database)] if facts.database else []),
    ]
