"""The pool against real ``ipmi_sim`` BMCs, with ipmitool as the second opinion, and against broken ones."""

import os
import socket
import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc, BootDevice, Health, Identity, Login, Power
from provisioner.domain.errors import BmcError, InvalidValue
from provisioner.domain.ports import BmcPort
from tests.bmc.conftest import udp_service

pytestmark = pytest.mark.system
LOGIN = Login("admin", "secret-of-the-test")


@pytest.fixture
def pool():
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


def test_the_pool_is_the_port(pool):
    assert isinstance(pool, BmcPort)


def test_identify_reads_what_the_fru_says(pool, simulated):
    assert pool.identify(simulated.bmc, simulated.login) == Identity(
        vendor="ACME",
        model="Server 9",
        serial="SN-0042",
        uuid=simulated.plate.uuid,
        macs=(simulated.plate.mac,),
        notes=(),
    )
    said = simulated.ipmitool("fru", "print", "0")
    assert f"MAC {simulated.plate.mac}" in said
    assert "SN-0042" in said


def test_a_bmc_without_sensors_says_so_and_is_not_called_healthy(pool, simulated):
    """``ipmi_sim`` has no sensor records here."""
    condition = pool.condition(simulated.bmc, simulated.login)
    assert (condition.health, condition.readings) == (Health.UNKNOWN, ())


def test_power_goes_where_ipmitool_sees_it_and_back(pool, simulated):
    seen = []
    for operation in (Power.STATUS, Power.ON, Power.ON, Power.CYCLE, Power.OFF):
        said = pool.power(simulated.bmc, simulated.login, operation)
        seen.append((operation, said, simulated.ipmitool("power", "status").strip()))
    assert seen == [
        (Power.STATUS, Power.OFF, "Chassis Power is off"),
        (Power.ON, Power.ON, "Chassis Power is on"),
        (Power.ON, Power.ON, "Chassis Power is on"),
        (Power.CYCLE, Power.ON, "Chassis Power is on"),
        (Power.OFF, Power.OFF, "Chassis Power is off"),
    ]
    assert [call for call in simulated.calls if call.startswith("set power")] == [
        "set power 1",  # the second "on" changes nothing
        "set power 0",
        "set power 1",
        "set power 0",
    ]


def test_what_ipmitool_switches_the_pool_sees(pool, simulated):
    simulated.ipmitool("power", "on")
    assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.ON
    simulated.ipmitool("power", "off")
    assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF


def test_a_server_that_is_off_is_powered_on_by_a_cycle_and_not_reset(pool, simulated):
    with pytest.raises(BmcError, match="off cannot be reset") as refused:
        pool.power(simulated.bmc, simulated.login, Power.RESET)
    assert refused.value.kind == "unsupported"
    assert pool.power(simulated.bmc, simulated.login, Power.CYCLE) is Power.ON


@pytest.mark.parametrize(
    ("device", "chassis"),
    [(BootDevice.NETWORK, "pxe"), (BootDevice.DISK, "default"), (BootDevice.DEFAULT, "none")],
)
def test_the_boot_device_reaches_the_chassis_as_ipmitools_does(pool, simulated, device, chassis):
    word = {"network": "pxe", "disk": "disk", "default": "none"}[device]
    simulated.ipmitool("chassis", "bootdev", word)
    by_ipmitool = simulated.state["boot"]
    simulated.ipmitool("chassis", "bootdev", "cdrom")
    pool.set_boot_device(simulated.bmc, simulated.login, device, persistent=True, uefi=True)
    assert simulated.state["boot"] == by_ipmitool == chassis


def test_one_bmc_serves_many_calls_one_after_the_other(pool, simulated):
    """A second pyghmi session in one process would hang; threads share one BMC here."""
    said: list[Power] = []
    threads = [
        threading.Thread(target=lambda: said.append(pool.power(simulated.bmc, simulated.login, Power.STATUS)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said == [Power.OFF] * 6


@pytest.mark.rule("fault-07")
@pytest.mark.parametrize(
    ("login", "kind"),
    [(Login("admin", "wrong"), "wrong-password"), (Login("nobody", "wrong"), "wrong-password")],
    ids=["password", "user"],
)
def test_a_wrong_login_is_told_at_once_and_not_retried(pool, simulated, login, kind):
    started = time.monotonic()
    with pytest.raises(BmcError) as refused:
        pool.power(simulated.bmc, login, Power.STATUS)
    assert (refused.value.kind, refused.value.retryable) == (kind, False)
    assert login.password not in str(refused.value)
    assert time.monotonic() - started < 10


def closed_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.rule("fault-07")
def test_a_port_where_nothing_listens_is_refused_at_once(pool, simulated):
    with pytest.raises(BmcError) as refused:
        pool.power(Bmc(simulated.bmc.id, "127.0.0.1", closed_port()), LOGIN, Power.STATUS)
    assert refused.value.kind == "refused"


@pytest.mark.rule("fault-07")
def test_silence_is_unreachable_within_ten_seconds_and_holds_no_other_bmc_up(pool, simulated):
    ended: list[float] = []
    with udp_service(lambda _: None) as silent:

        def ask() -> None:
            with pytest.raises(BmcError, match="does not answer") as refused:
                pool.identify(silent, LOGIN)
            assert (refused.value.kind, refused.value.retryable) == ("unreachable", True)
            ended.append(time.monotonic())

        started = time.monotonic()
        thread = threading.Thread(target=ask)
        thread.start()
        assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF
        answered = time.monotonic()
        thread.join(30)
    assert answered < ended[0] < started + 10


PROBE_ANSWER = bytes.fromhex("0600ff07000000000000000000 10 811c63200038 00 0e8004020000000042")
"""A good answer to Get Channel Authentication Capabilities, IPMI 2.0, as ``ipmi_sim`` gives it."""


@pytest.mark.rule("fault-07")
@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"\xde\xad\xbe\xef" * 16,
        lambda _: b"",
        lambda _: b"SSH-2.0-OpenSSH_9.2\r\n",
        lambda asked: asked,
    ],
    ids=["noise", "empty", "ssh", "echo"],
)
def test_what_is_not_ipmi_is_called_garbage(pool, answer):
    with udp_service(answer) as broken, pytest.raises(BmcError) as refused:
        pool.power(broken, LOGIN, Power.STATUS)
    assert refused.value.kind == "garbage"


@pytest.mark.rule("fault-07")
@pytest.mark.parametrize("tail", [b"", b"\x00" * 3, b"\xff" * 64], ids=["truncated", "short", "noise"])
def test_a_bmc_that_starts_well_and_goes_on_with_noise_ends_in_bounded_time(pool, tail):
    def answer(asked: bytes) -> bytes:
        # RMCP+ (authentication type 6) gets a session answer of the right kind with nonsense in it.
        return bytes.fromhex("0600ff070611") + bytes(10) + tail if asked[4] == 6 else PROBE_ANSWER

    started = time.monotonic()
    with udp_service(answer) as broken, pytest.raises(BmcError) as refused:
        pool.power(broken, LOGIN, Power.STATUS)
    assert refused.value.kind in ("garbage", "unreachable", "unsupported")
    assert time.monotonic() - started < 20


def test_a_worker_that_dies_fails_what_it_was_doing_and_is_replaced(pool, simulated):
    failed: list[BmcError] = []
    with udp_service(lambda _: None) as silent:

        def ask() -> None:
            with pytest.raises(BmcError) as refused:
                pool.power(silent, LOGIN, Power.STATUS)
            failed.append(refused.value)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for_job()
        for pid in workers():
            os.kill(pid, 9)
        thread.join(3)
    assert [error.kind for error in failed] == ["unreachable"]
    assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF


@pytest.mark.rule("fault-07")
def test_many_silent_bmcs_at_once_take_the_time_of_one():
    pool = WorkerPool(size=40, allow_loopback=True, between=0)
    kinds: list[str] = []
    try:
        with ExitStack() as stack:
            silent = [stack.enter_context(udp_service(lambda _: None)) for _ in range(40)]

            def ask(bmc: Bmc) -> None:
                with pytest.raises(BmcError) as refused:
                    pool.identify(bmc, LOGIN)
                kinds.append(refused.value.kind)

            threads = [threading.Thread(target=ask, args=(bmc,)) for bmc in silent]
            started = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert kinds == ["unreachable"] * 40
        assert time.monotonic() - started < 25
    finally:
        pool.close()


@pytest.mark.rule("fault-08")
def test_one_bmc_gets_one_operation_at_a_time_and_a_pause_between():
    heard: list[float] = []

    def answer(_: bytes) -> bytes:
        heard.append(time.monotonic())
        return b"not IPMI"

    pool = WorkerPool(size=8, allow_loopback=True, between=0.3)
    try:
        with udp_service(answer) as broken:

            def ask() -> None:
                with pytest.raises(BmcError):
                    pool.power(broken, LOGIN, Power.STATUS)

            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    finally:
        pool.close()
    assert len(heard) == 5
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(heard))


@pytest.mark.rule("threat-04")
def test_the_password_is_in_no_argument_list_or_environment(pool, simulated):
    """Looked for while a job runs, in every process there is."""
    found: list[str] = []
    with udp_service(lambda _: None) as silent:

        def ask() -> None:
            with pytest.raises(BmcError):
                pool.identify(silent, LOGIN)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for_job()
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    if LOGIN.password.encode() in (process / name).read_bytes():
                        found.append(f"{process.name}/{name}")
                except OSError:
                    continue  # it ended, or is the kernel's
        thread.join(30)
    assert found == []
    assert LOGIN.password not in repr(LOGIN)


@pytest.mark.rule("threat-05")
def test_nothing_is_imported_from_the_directory_it_was_started_in(simulated, tmp_path, monkeypatch):
    """Whoever may write into a directory must not run as root because root stood there."""
    here = tmp_path / "somebodys"
    here.mkdir()
    for name in ("http", "json", "pyghmi", "provisioner"):
        (here / f"{name}.py").write_text("print('hello', flush=True); raise SystemExit(1)")
    monkeypatch.chdir(here)
    pool = WorkerPool(size=1, allow_loopback=True, between=0)
    try:
        assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF
    finally:
        pool.close()


def test_a_worker_that_cannot_start_is_told_at_once(simulated, tmp_path, monkeypatch):
    (tmp_path / "httpx.py").write_text("print('no', flush=True); raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = WorkerPool(size=1, allow_loopback=True, between=0)
    started = time.monotonic()
    try:
        with pytest.raises(BmcError, match="the process that asked it for power ended"):
            pool.power(simulated.bmc, simulated.login, Power.STATUS)
    finally:
        pool.close()
    # Sooner than the operation's own deadline.
    assert time.monotonic() - started < 12


def test_closing_ends_the_workers_and_what_they_do(simulated):
    pool = WorkerPool(size=2, allow_loopback=True)
    pool.power(simulated.bmc, simulated.login, Power.STATUS)
    assert workers()
    raised: list[BmcError] = []
    with udp_service(lambda _: None) as silent:

        def ask() -> None:
            with pytest.raises(BmcError) as refused:
                pool.power(silent, LOGIN, Power.STATUS)
            raised.append(refused.value)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for_job()
        pool.close()
        thread.join(10)
    assert raised[0].kind == "unreachable"
    assert workers() == []
    with pytest.raises(BmcError, match="stopping"):
        pool.power(simulated.bmc, simulated.login, Power.STATUS)


@pytest.mark.rule("threat-05")
def test_the_pool_refuses_its_own_host_without_a_packet(simulated):
    pool = WorkerPool()
    with pytest.raises(InvalidValue, match="loopback"):
        pool.power(simulated.bmc, simulated.login, Power.STATUS)
    assert simulated.calls == []
    pool.close()


def wait_for_job() -> None:
    """Until a worker has forked a child for a job."""
    until = time.monotonic() + 10
    while len(workers()) < 2:
        assert time.monotonic() < until, "no worker took the job"
        time.sleep(0.02)


def workers() -> list[int]:
    """This process's workers, and the children that do their jobs."""
    mine, found = {os.getpid()}, []
    for process in sorted((p for p in Path("/proc").glob("[0-9]*")), key=lambda p: int(p.name)):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) in mine and b"provisioner.bmc.worker" in command and fields[0] != "Z":
            mine.add(int(process.name))
            found.append(int(process.name))
    return found
