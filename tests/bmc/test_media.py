"""Virtual media: an image in a drive of the BMC's, over `sushy-emulator` and boards of other habits."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from provisioner.bmc.pool import SERVER, WorkerPool
from provisioner.domain.bmc import Bmc, BootDevice, Drive
from provisioner.domain.errors import BmcError
from tests.bmc.conftest import SimulatedBmc
from tests.bmc.https_bmc import LOGIN, Answer, HttpsBmc, Redfish, microblade, served
from tests.bmc.test_redfish import golden, pinned
from tests.bmc.test_sushy import Emulator, emulator

__all__ = ["emulator"]
pytestmark = pytest.mark.system
ISO = "http://10.12.1.2:8081/payload/rescue.iso"
STICK = "http://10.12.1.2:8081/payload/rescue.img"
DRIVES = "/redfish/v1/Managers/bmc/VirtualMedia"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


class Board(Redfish):
    """Two drives on the manager. ``habit``: action, edit (no action), protocol (must be told), task (fails)."""

    def __init__(self, habit: str, holds: str = "") -> None:
        super().__init__(golden("dell-idrac9")["resources"])
        self.habit = habit
        self.done: list[tuple[str, str, dict[str, Any]]] = []
        self.resources["/redfish/v1/Managers/bmc"]["VirtualMedia"] = {"@odata.id": DRIVES}
        self.resources[DRIVES] = {"Members": [{"@odata.id": f"{DRIVES}/{name}"} for name in ("Cd", "Usb")]}
        for name, kinds in (("Cd", ["CD", "DVD"]), ("Usb", ["USBStick"])):
            path = f"{DRIVES}/{name}"
            actions = {
                f"#VirtualMedia.{verb}Media": {"target": f"{path}/Actions/VirtualMedia.{verb}Media"}
                for verb in ("Insert", "Eject")
            }
            self.resources[path] = {
                **{"@odata.id": path, "Id": name, "MediaTypes": kinds, "Image": None, "Inserted": False},
                **({"Actions": actions} if habit != "edit" else {}),
            }
        if holds:
            self.resources[f"{DRIVES}/Cd"] |= {"Image": holds, "Inserted": True}

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        drive = self.resources.get(path.partition("/Actions/")[0])
        if method not in ("POST", "PATCH") or not path.startswith(DRIVES) or drive is None:
            return super().reply(method, path, headers, body)
        sent = json.loads(body)
        self.done.append((method, path.rpartition("/")[2], sent))
        if path.endswith("EjectMedia"):
            drive |= {"Image": None, "Inserted": False}
        elif self.habit == "protocol" and "TransferProtocolType" not in sent:
            return Answer(400, b'{"error": {"code": "Base.1.8.ActionParameterMissing"}}')
        elif self.habit == "task":
            task = "/redfish/v1/TaskService/Tasks/7"
            said = [{"Message": "Unable to locate the ISO or IMG image file"}]
            self.resources[task] = {"TaskState": "Exception", "Messages": said}
            return Answer(202, b"{}", {"Location": task})
        elif drive["Inserted"] and sent["Image"]:
            return Answer(400, b'{"error": {"code": "Base.1.8.ResourceInUse"}}')
        else:
            drive |= {"Image": sent["Image"], "Inserted": bool(sent["Image"])}
        return Answer(204)


@contextmanager
def board(pool: WorkerPool, tmp_path: Path, habit: str, holds: str = "") -> Iterator[tuple[Board, Bmc]]:
    made = Board(habit, holds)
    with served(HttpsBmc(made.reply), tmp_path) as bmc:
        yield made, pinned(pool, bmc)


@contextmanager
def web_server(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The port of a server with one file, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def holding(drives: Any) -> dict[str, str]:
    return {drive.name: drive.image for drive in drives}


def test_sushys_emulator_fetches_the_image_holds_it_and_lets_it_go(pool: WorkerPool, emulator: Emulator) -> None:
    door = (emulator.bmc, emulator.login)
    with web_server(b"CD001") as (port, asked):
        before = holding(pool.drives(*door))
        assert before["Cd"] == ""
        url = f"http://{SERVER}:{port}/payload/rescue.iso"
        after = holding(pool.drives(*door, url))
        assert after == before | {"Cd": f"http://127.0.0.1:{port}/payload/rescue.iso"}
        assert asked == ["/payload/rescue.iso"]
        # Named again, it stays; nothing is fetched twice.
        assert holding(pool.drives(*door, url)) == after
        assert asked == ["/payload/rescue.iso"]
        pool.set_boot_device(*door, BootDevice.CD, uefi=True)
        assert holding(pool.drives(*door, "")) == before


def test_an_action_an_edit_and_a_board_that_wants_the_protocol_end_alike(pool: WorkerPool, tmp_path: Path) -> None:
    for habit in ("action", "edit", "protocol"):
        with board(pool, tmp_path, habit) as (made, bmc):
            assert pool.drives(bmc, LOGIN, ISO) == [Drive("Cd", ("CD", "DVD"), ISO), Drive("Usb", ("USBStick",))]
            if habit == "action":
                assert holding(pool.drives(bmc, LOGIN, STICK)) == {"Cd": ISO, "Usb": STICK}
            assert holding(pool.drives(bmc, LOGIN, "")) == {"Cd": "", "Usb": ""}, habit
            assert made.open == set()


def test_what_lies_there_is_taken_out_first(pool: WorkerPool, tmp_path: Path) -> None:
    with board(pool, tmp_path, "action", holds="http://elsewhere/old.iso") as (made, bmc):
        assert holding(pool.drives(bmc, LOGIN, ISO)) == {"Cd": ISO, "Usb": ""}
    assert [verb for _, verb, _ in made.done] == ["VirtualMedia.EjectMedia", "VirtualMedia.InsertMedia"]


def test_an_image_that_the_bmc_cannot_fetch_is_told_in_its_words(pool: WorkerPool, tmp_path: Path) -> None:
    with board(pool, tmp_path, "task") as (_, bmc), pytest.raises(BmcError) as refused:
        pool.drives(bmc, LOGIN, ISO)
    assert refused.value.kind == "unsupported"
    assert f"cannot insert {ISO}: Unable to locate the ISO or IMG image file" in refused.value.problem
    assert "reaches this URL" in refused.value.remedy


def test_who_has_no_drive_or_not_this_one_is_refused_by_name(
    pool: WorkerPool, tmp_path: Path, simulated: SimulatedBmc
) -> None:
    with pytest.raises(BmcError, match="speaks IPMI, which has no virtual media") as refused:
        pool.drives(simulated.bmc, simulated.login, ISO)
    assert refused.value.kind == "unsupported"
    with (
        served(HttpsBmc(Redfish(golden("hpe-ilo4")["resources"]).reply), tmp_path) as bare,
        pytest.raises(BmcError, match=r"BMC 127\.0\.0\.1 has no virtual media"),
    ):
        pool.drives(pinned(pool, bare), LOGIN)
    with board(pool, tmp_path, "action") as (made, bmc):
        made.resources[DRIVES]["Members"].pop()
        with pytest.raises(BmcError, match="has no virtual USB stick; its drives take CD, DVD"):
            pool.drives(bmc, LOGIN, STICK)
    with served(HttpsBmc(microblade({})), tmp_path) as manager:
        certificate = pool.chassis(manager.bmc("cmm"), LOGIN).certificate
        with pytest.raises(BmcError, match="it has no virtual media"):
            pool.drives(manager.bmc("cmm", certificate), LOGIN)


def test_supermicros_name_for_the_virtual_cd_is_preferred(pool: WorkerPool, tmp_path: Path) -> None:
    with board(pool, tmp_path, "action") as (made, bmc):
        for offered, wanted in ((["Cd", "Pxe"], "Cd"), (["Cd", "UsbCd"], "UsbCd")):
            made.system["Boot"] = {"BootSourceOverrideTarget@Redfish.AllowableValues": offered}
            pool.set_boot_device(bmc, LOGIN, BootDevice.CD, uefi=True)
            assert made.patched[-1]["Boot"]["BootSourceOverrideTarget"] == wanted
