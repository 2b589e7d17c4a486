"""What a run is made of, and what it says, without building one."""

import tomllib

import pytest

from provisioner.domain.errors import Refused
from provisioner.lab.appliance import configuration
from provisioner.lab.board import Board, Row
from provisioner.lab.run import LabOptions, firmwares, main
from provisioner.settings import Settings


def test_mixed_firmware_takes_turns():
    assert firmwares(LabOptions(machines=3)) == ["bios", "uefi", "bios"]
    assert firmwares(LabOptions(machines=2, firmware="uefi-http")) == ["uefi-http"] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (LabOptions(firmware="coreboot"), "--firmware 'coreboot'"),
        (LabOptions(machines=0), "--machines 0"),
        (LabOptions(machines=51), "--machines 51"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is(options, words):
    with pytest.raises(Refused, match=words):
        main(options)


def test_without_the_image_the_run_says_what_builds_it(tmp_path):
    with pytest.raises(Refused, match="make setup"):
        main(LabOptions(netboot_assets=tmp_path))


def test_the_appliance_reads_the_settings_that_it_is_given(tmp_path):
    text = configuration(
        {"data_dir": tmp_path / 'a "b"', "interface": "eth0", "address": "10.77.0.1", "people.listen": "fd:7"}
    )
    settings = Settings(**tomllib.loads(text))
    assert settings.data_dir == tmp_path / 'a "b"'
    assert settings.people.listen == "fd:7"
    [wire] = settings.wires
    assert (wire.name, str(wire.address)) == ("eth0", "10.77.0.1")


def row(state: str, phase: str, percent: int | None = None) -> Row:
    return Row("node-01", "bios", "simple", "10.77.0.11", state, phase, percent, 12.34)


def test_outside_a_terminal_each_step_is_one_line(capsys):
    with Board(quiet_stdout=False) as board:
        for step in (row("armed", ""), row("installing", "image", 10), row("installing", "image", 90)):
            board.show([step])
        board.show([row("active", "active")])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in printed] == [
        ["node-01", "bios", "armed"],
        ["node-01", "bios", "installing", "image"],
        ["node-01", "bios", "active", "active"],
    ]


def test_with_json_the_progress_goes_to_stderr(capsys):
    with Board(quiet_stdout=True) as board:
        board.show([row("armed", "")])
        board.final([row("active", "active", 100)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "active 100 %" in printed.err
