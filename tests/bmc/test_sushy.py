"""A Redfish service that others wrote: `sushy-emulator` with its fake driver, behind TLS and a password."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import bcrypt
import pytest

from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc, BootDevice, Health, Login, Power
from provisioner.domain.errors import BmcError
from provisioner.domain.mac import Mac
from tests.bmc.conftest import free_port
from tests.bmc.https_bmc import certificate

pytestmark = pytest.mark.system
SYSTEM = UUID("8f2c1d3e-9a4b-4c6d-9e1f-0a2b3c7d8e9f")
MACS = ("00:5c:52:31:3a:9c", "00:5c:52:31:3a:9d")


@dataclass
class Emulator:
    bmc: Bmc
    login: Login


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("sushy")
    login, port, pem = Login("admin", secrets.token_hex(8)), free_port(), certificate(folder)
    # The cheapest hash: it is asked for with every request.
    words = folder / "htpasswd"
    words.write_text(f"admin:{bcrypt.hashpw(login.password.encode(), bcrypt.gensalt(4)).decode()}\n")
    system = {
        "uuid": str(SYSTEM),
        "name": "node-1",
        "power_state": "Off",
        "nics": [{"mac": mac, "ip": "10.9.0.1"} for mac in MACS],
    }
    config = folder / "emulator.conf"
    config.write_text(
        f"SUSHY_EMULATOR_FAKE_SYSTEMS = {[system]!r}\n"
        f"SUSHY_EMULATOR_AUTH_FILE = {str(words)!r}\n"
        f"SUSHY_EMULATOR_STATE_DIR = {str(folder)!r}\n"
    )
    argv = [str(Path(sys.executable).with_name("sushy-emulator")), "--fake", "--config", str(config)]
    argv += ["-i", "127.0.0.1", "-p", str(port), "--ssl-certificate", str(pem), "--ssl-key", str(pem)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        pool = WorkerPool(size=1, allow_loopback=True, between=0)
        bmc = Bmc(uuid4(), "127.0.0.1", port, "redfish")
        until = time.monotonic() + 20
        while bmc.certificate == "":
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            try:
                bmc = replace(bmc, certificate=pool.identify(bmc, login).certificate)
            except BmcError as error:
                assert error.kind == "refused", (error, log.read_text())
                time.sleep(0.1)
        pool.close()
        yield Emulator(bmc, login)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


def test_it_tells_who_its_server_is(pool: WorkerPool, emulator: Emulator) -> None:
    found = pool.identify(replace(emulator.bmc, certificate=""), emulator.login)
    assert (found.uuid, found.macs) == (SYSTEM, tuple(map(Mac.parse, MACS)))
    assert found.certificate == emulator.bmc.certificate


def test_one_time_boot_and_power_are_what_it_then_says(pool: WorkerPool, emulator: Emulator) -> None:
    """Its power follows an order after one to eleven seconds, as hardware does."""
    pool.set_boot_device(emulator.bmc, emulator.login, BootDevice.NETWORK, uefi=True)
    assert pool.power(emulator.bmc, emulator.login, Power.ON) is Power.ON
    assert pool.power(emulator.bmc, emulator.login, Power.STATUS) is Power.ON


def test_its_sensors_are_read(pool: WorkerPool, emulator: Emulator) -> None:
    condition = pool.condition(emulator.bmc, emulator.login)
    assert condition.health is Health.OK
    assert {(reading.unit, reading.health) for reading in condition.readings} >= {("°C", Health.OK)}
    assert all(reading.value is not None for reading in condition.readings if reading.unit == "°C")


def test_a_wrong_password_is_called_so(pool: WorkerPool, emulator: Emulator) -> None:
    with pytest.raises(BmcError) as refused:
        pool.power(emulator.bmc, Login("admin", "wrong"), Power.STATUS)
    assert refused.value.kind == "wrong-password"
