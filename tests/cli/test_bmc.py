"""BMCs at the command line: health of one and of all, boot devices, images."""

from collections.abc import Sequence

import pytest

from provisioner import wiring
from provisioner.domain.bmc import Bmc, BootDevice, Condition, Drive, Health, Login, Power, Reading
from provisioner.domain.errors import BmcError
from tests.cli.conftest import Run

CONDITIONS = {
    "10.9.0.1": Condition(Health.OK, (Reading("Inlet", 24.0, "°C", Health.OK),)),
    "10.9.0.2": Condition(Health.CRITICAL, (Reading("Fan 1", 200.0, "RPM", Health.CRITICAL, "lower critical"),)),
    "10.9.0.3": Condition(Health.UNKNOWN, (), ("sensors cannot be read further: Invalid SDR",)),
}


class Doors:
    """What four BMCs say; the last one nothing."""

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        if bmc.address not in CONDITIONS:
            raise BmcError("unreachable", f"BMC {bmc.address} does not answer", "check its cable")
        return Power.ON

    def condition(self, bmc: Bmc, login: Login) -> Condition:
        return CONDITIONS[bmc.address]

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None:
        return

    def drives(self, bmc: Bmc, login: Login, image: str | None = None) -> Sequence[Drive]:
        return [Drive("Cd", ("CD", "DVD"), image or "")]

    def close(self) -> None:
        return


@pytest.fixture
def rack(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Run:
    monkeypatch.setattr(wiring, "WorkerPool", Doors)
    password = tmp_path_factory.mktemp("secret") / "password"
    password.write_text("sesame-of-the-test\n")
    for n in range(1, 5):
        run("bmc", "add", f"10.9.0.{n}", "--user", "admin", "--password-file", str(password))
        run("machine", "add", "--name", f"n{n}", "--mac", f"52:54:00:00:00:0{n}", "--bmc", f"10.9.0.{n}")
    return run


def test_one_server_is_shown_by_its_bmcs_address_or_its_name(rack: Run) -> None:
    shown = rack("bmc", "show", "n2")
    assert shown.code == 0
    assert "10.9.0.2: power on, health critical" in shown.out
    assert "Fan 1  200.0  RPM   critical  lower critical" in shown.out
    told = rack("bmc", "show", "10.9.0.1", "--json").json
    assert (told["address"], told["power"], told["health"], told["notes"]) == ("10.9.0.1", "on", "ok", [])
    silent = rack("bmc", "show", "n4")
    assert (silent.code, silent.err) == (1, "10.9.0.4: BMC 10.9.0.4 does not answer; check its cable\n")


def test_the_fleets_health_begins_with_who_needs_a_look(rack: Run) -> None:
    all_four = rack("bmc", "health")
    rows = [line.split() for line in all_four.out.splitlines()[1:]]
    assert all_four.code == 3
    assert [row[:2] for row in rows] == [
        ["10.9.0.4", "n4"],
        ["10.9.0.2", "n2"],
        ["10.9.0.3", "n3"],
        ["10.9.0.1", "n1"],
    ]
    assert "Fan 1 200 RPM lower critical critical" in all_four.out
    assert "Invalid SDR" in all_four.out
    assert "BMC 10.9.0.4 does not answer" in all_four.out
    assert rack("bmc", "health", "n1").code == 0


def test_boot_devices_and_images_are_set_by_name(rack: Run) -> None:
    assert sorted(rack("machine", "boot", "setup", "n1", "n2").out.splitlines()) == [
        "n1: BMC 10.9.0.1: boot device set to setup, once",
        "n2: BMC 10.9.0.2: boot device set to setup, once",
    ]
    missing = rack("machine", "media", "insert", "rescue.iso", "n1")
    assert (missing.code, "payload add FILE --path rescue.iso" in missing.err) == (1, True)
    url = "http://10.12.1.2:8081/payload/rescue.iso"
    inserted = rack("machine", "media", "insert", url, "n1", "--boot")
    assert inserted.out == f"n1: BMC 10.9.0.1: drive Cd (CD, DVD) {url}; boots from it once\n"
    assert rack("machine", "media", "eject", "n1").out == "n1: BMC 10.9.0.1: drive Cd (CD, DVD) empty\n"
    assert rack("machine", "media", "list", "n1", "--json").json["result"][0]["drives"][0]["name"] == "Cd"
