"""The Secure Boot chain on real firmware: OVMF with Microsoft's keys, shim, Debian's signed GRUB and kernel.

Every link refuses what is not signed; a machine that arrives proves them all, from the wire and from its disk.
"""

from pathlib import Path

import pytest

from tests.e2e.test_rack import end, start

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2400)]


def test_a_machine_with_secure_boot_installs_and_comes_home_from_its_disk(tmp_path: Path) -> None:
    options = ("--machines", "1", "--firmware", "uefi-secure", "--power-cycle", "--keep", "--timeout", "1400")
    lab = start(tmp_path / "lab", *options)
    try:
        (machine,) = lab.result(2100)
        assert (machine["state"], machine.get("error", "")) == ("active", ""), lab.log()
        console = (tmp_path / "lab" / "uefi-secure-1" / "console.log").read_text(errors="replace")
        # The live system, its disk, and its disk again after the power cycle.
        assert console.count("EFI stub: UEFI Secure Boot is enabled.") == 3
        assert "Kernel is locked down from EFI Secure Boot" in console
        events = lab.ask("machine", "events", "node-01", "--limit", "500")
        said = " / ".join(event["message"] for event in events)
        assert "boot file shimx64.efi because its label 'loader' says so" in said
        assert "read grubx64.efi" in said
        assert "asked for its pxe.yml; gets install" in said
        kernel = [event for event in events if event["phase"] == "kernel"]
        assert any("flatcar_production_pxe.vmlinuz" in event["message"] for event in kernel)
        shown = lab.ask("simulate", "node-01")
        assert "search --no-floppy --file --set=root" in shown["boot_script"]
    finally:
        end(lab)
