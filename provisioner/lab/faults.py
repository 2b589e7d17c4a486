"""Faults that can be switched on in the lab's network."""

from provisioner.lab.programs import inside, run

_DROP_CALLBACKS = """
table inet lab {
 chain callbacks {
  type filter hook input priority 0
  tcp dport 80 @ih,0,40 0x504f535420 reject with tcp reset
 }
}
"""
"""0x504f535420 is "POST ": every report of a machine is lost, every GET goes through."""


def drop_callbacks(namespace: str) -> None:
    """Lose every callback that reaches the appliance from now on. Raises Refused."""
    run(*inside(namespace, ["nft", "-f", "-"]), data=_DROP_CALLBACKS)
