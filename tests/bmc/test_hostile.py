"""BMCs that are slow, stop in the middle, garble or lock accounts: bounded, told apart, nobody else waits."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.actions import bmc_jobs, logins, power
from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc, Power
from provisioner.domain.errors import BmcError
from tests.actions.opening import open_store
from tests.bmc.conftest import SimulatedBmc
from tests.bmc.https_bmc import LOGIN, HttpsBmc, Redfish, served
from tests.bmc.test_redfish import golden

pytestmark = [pytest.mark.system, pytest.mark.rule("fault-07")]
Spoil = Callable[[int, bytes], bytes | None]
"""What becomes of the BMC's n-th answer (from 0); None: it is lost."""


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=12, allow_loopback=True, between=0)
    yield made
    made.close()


@contextmanager
def between(bmc: Bmc, spoil: Spoil) -> Iterator[Bmc]:
    """A wire to a real ``ipmi_sim`` that does something to each answer."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as behind,
    ):
        door.bind(("127.0.0.1", 0))
        behind.connect((bmc.address, bmc.port))
        for each in (door, behind):
            each.settimeout(0.1)
        done = threading.Event()
        asker: list[tuple[str, int]] = []

        def there() -> None:
            while not done.is_set():
                with suppress(TimeoutError, ConnectionError):
                    data, peer = door.recvfrom(2048)
                    asker[:] = [peer]
                    behind.send(data)

        def back() -> None:
            count = 0
            while not done.is_set():
                with suppress(TimeoutError, ConnectionError):
                    said = spoil(count, behind.recv(2048))
                    count += 1
                    if said is not None:
                        door.sendto(said, asker[0])

        threads = [threading.Thread(target=each) for each in (there, back)]
        for thread in threads:
            thread.start()
        try:
            yield Bmc(uuid4(), "127.0.0.1", door.getsockname()[1])
        finally:
            done.set()
            for thread in threads:
                thread.join()


_LOGIN = 6
"""Answers before the first one that is inside the session."""


def slowly(_: int, data: bytes) -> bytes:
    time.sleep(0.1)
    return data


def test_a_slow_bmc_is_read_whole(pool: WorkerPool, simulated: SimulatedBmc) -> None:
    with between(simulated.bmc, slowly) as slow:
        found = pool.identify(slow, simulated.login)
    assert (found.serial, found.macs) == ("SN-0042", (simulated.plate.mac,))


def stops_after(answers: int) -> Spoil:
    return lambda count, data: data if count < answers else None


def cut(count: int, data: bytes) -> bytes:
    """Whole until the login is over, then half of everything."""
    return data if count < _LOGIN else data[: len(data) // 2]


def flipped(count: int, data: bytes) -> bytes:
    return data if count < _LOGIN else data[:-20] + bytes(byte ^ 0x55 for byte in data[-20:])


def noise(count: int, data: bytes) -> bytes:
    return data if count < 4 else b"\x06\x00\xff\x07" + b"\xff" * 60


SPOILT: dict[str, Spoil] = {
    "stops after the first answer": stops_after(1),
    "stops in the login": stops_after(3),
    "stops behind the login": stops_after(5),
    "half answers": cut,
    "flipped bits": flipped,
    "noise": noise,
}


def test_bmcs_that_break_in_the_middle_end_in_bounded_time_and_hold_nobody_up(
    pool: WorkerPool, simulated: SimulatedBmc
) -> None:
    told: dict[str, BmcError] = {}
    started = time.monotonic()

    def ask(name: str, bmc: Bmc) -> None:
        with pytest.raises(BmcError) as refused:
            pool.power(bmc, simulated.login, Power.STATUS)
        told[name] = refused.value

    with ExitStack() as stack:
        threads = [
            threading.Thread(target=ask, args=(name, stack.enter_context(between(simulated.bmc, spoil))))
            for name, spoil in SPOILT.items()
        ]
        for thread in threads:
            thread.start()
        # One that is well answers while the broken ones are waited for.
        assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF
        assert any(thread.is_alive() for thread in threads)
        for thread in threads:
            thread.join(60)
    assert told.keys() == SPOILT.keys()
    assert {error.kind for error in told.values()} <= {"unreachable", "garbage"}, told
    assert not any(simulated.login.password in str(error) for error in told.values())
    assert time.monotonic() - started < 40
    assert pool.power(simulated.bmc, simulated.login, Power.STATUS) is Power.OFF


def test_an_account_that_locks_at_the_third_wrong_password_is_never_locked(
    pool: WorkerPool, tmp_path: Path
) -> None:
    """Three wrong candidates, five harvests within half an hour; then the right one still opens."""
    service = Redfish(golden("dell-idrac9")["resources"])
    store, minute = open_store(tmp_path), 60 * 1_000_000
    now = 1_700_000_000_000_000
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        with store.transaction("test") as tx:
            tx.bmcs.put(bmc.bmc())
        for prefix in ("127.0.0.0/8", "127.0.0.0/9", "127.0.0.0/10"):
            login = {"prefix": prefix, "user": LOGIN.user, "password": f"wrong in {prefix}"}
            logins.put_login(store, login, actor="t", now=now)
        for n in range(5):
            at = now + n * 5 * minute
            job = power.enqueue_harvest(store, None, actor="t", now=at)
            assert bmc_jobs.run(store, pool, job, lambda at=at: at).state == "failed"
        assert service.failures == 2
        logins.put_login(
            store, {"prefix": "127.0.0.0/24", "user": LOGIN.user, "password": LOGIN.password}, actor="t", now=now
        )
        later = now + 31 * minute
        job = power.enqueue_harvest(store, None, actor="t", now=later)
        assert bmc_jobs.run(store, pool, job, lambda: later).state == "done"
    assert service.failures == 2
