"""What a run is made of, and what it says, without building one."""

import tomllib
from types import SimpleNamespace

import pytest

from provisioner.domain.errors import Refused
from provisioner.lab import appliance
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


def test_a_role_that_does_not_exist_is_refused_before_a_rack_is_built(tmp_path):
    (tmp_path / "build/images/flatcar/lab").mkdir(parents=True)
    with pytest.raises(Refused, match="no role 'simpel'; there is: "):
        main(LabOptions(netboot_assets=tmp_path, role="worker,simpel"))


def test_the_lab_s_commands_never_see_the_operator_s_own_settings(tmp_path, monkeypatch):
    """They win over a settings file: the lab would list its BMCs in the real inventory."""
    monkeypatch.setenv("PROVISIONER_DATA_DIR", str(tmp_path / "real"))
    monkeypatch.setattr(appliance, "inside", lambda _namespace, argv: argv)
    lab = appliance.Appliance(SimpleNamespace(appliance="", address="10.77.0.1"), tmp_path / "lab", {})
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "provisioner.toml").write_text(configuration({"data_dir": lab.data_dir}))
    lab.command("subnet", "add", "10.77.0.0/24")
    assert (lab.data_dir / "provisioner.db").exists()
    assert not (tmp_path / "real").exists()


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


def test_a_terminal_that_cannot_redraw_gets_lines_too(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich: this is a terminal
    monkeypatch.setenv("TERM", "dumb")
    with Board(quiet_stdout=False) as board:
        board.show([row("armed", "")])
        board.show([row("installing", "image", 10)])
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines()] == ["armed", "installing"]


def test_with_json_the_progress_goes_to_stderr(capsys):
    with Board(quiet_stdout=True) as board:
        board.show([row("armed", "")])
        board.final([row("active", "active", 100)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "active 100 %" in printed.err
