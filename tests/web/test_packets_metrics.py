"""The packets service has no HTTP of its own: /metrics passes on what it wrote last."""

import os
import time
from dataclasses import replace
from pathlib import Path

from provisioner.web.health import Health
from provisioner.web.packets_numbers import Rogue, rogues

from .appliance import make_appliance


def test_numbers_of_the_packets_service_are_passed_on_while_they_are_fresh(tmp_path: Path) -> None:
    appliance = next(make_appliance(tmp_path))
    file = tmp_path / "metrics-packets.prom"
    health = Health(replace(appliance.parts, packets_metrics=file))
    assert b"provisioner_dhcp" not in health.metrics().body
    file.write_text("provisioner_dhcp_faults_total 3\n")
    assert bytes(health.metrics().body).endswith(b"\nprovisioner_dhcp_faults_total 3\n")
    file.write_text(
        'provisioner_dhcp_rogue_servers{interface="eth1",address="10.98.0.9",mac="52:54:00:98:0d:01"} 1\n'
    )
    assert rogues(file) == (Rogue("eth1", "10.98.0.9", "52:54:00:98:0d:01"),)
    # A service that is gone leaves its numbers behind; they must not look like health.
    long_ago = time.time() - 120
    os.utime(file, (long_ago, long_ago))
    assert b"provisioner_dhcp" not in health.metrics().body
    assert rogues(file) == ()
    assert rogues(None) == ()
