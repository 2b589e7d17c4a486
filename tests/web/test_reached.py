"""Port 80 opened by systemd: what the machines' app makes of a socket that it was given."""

import os
import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from provisioner.doctor.host import listener
from provisioner.domain.errors import Refused
from provisioner.settings import Settings
from provisioner.sockets import inherited_sockets, machine_sockets, served_addresses
from provisioner.web.reached import reached_at

APP = Starlette(routes=[Route("/", lambda _: PlainTextResponse("served"))])


@pytest.mark.parametrize(("host", "code"), [("10.98.0.1", 200), ("192.0.2.7", 421)])
def test_only_the_wires_addresses_are_answered_on(host: str, code: int) -> None:
    got = TestClient(reached_at(APP, {"10.98.0.1"}), base_url=f"http://{host}").get("/")
    assert got.status_code == code
    assert got.text == ("served" if code == 200 else "machines are served at 10.98.0.1\n")


def test_sockets_of_our_own_are_bound_to_the_wires_and_need_no_limit() -> None:
    assert served_addresses(Settings(interface="lo")) is None
    assert TestClient(reached_at(APP, None), base_url="http://192.0.2.7").get("/").text == "served"


def test_a_given_socket_is_used_and_limited_to_the_wires() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        settings = Settings.model_validate({"interface": "lo", "machines": {"listen": f"fd:{given.fileno()}"}})
        assert inherited_sockets(settings) == (given.fileno(),)
        assert served_addresses(settings) == {"127.0.0.1"}
        (used,) = machine_sockets(settings)
        assert used.getsockname() == given.getsockname()
        used.detach()


def test_what_is_no_listening_socket_is_refused_with_who_opens_it() -> None:
    with open(os.devnull) as file:  # noqa: PTH123 - a descriptor
        settings = Settings.model_validate({"interface": "lo", "machines": {"listen": f"fd:{file.fileno()}"}})
        with pytest.raises(Refused, match=r"provisioner-web\.socket"):
            machine_sockets(settings)


def test_a_socket_whose_process_is_hidden_is_ours_by_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "udp UNCONN 0 0 0.0.0.0%eth1:67 0.0.0.0:* uid:997 ino:1 sk:1 cgroup:/x <->"
    monkeypatch.setattr(os, "geteuid", lambda: 997)
    ours = listener(line)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    other = listener(line)
    assert ours is not None
    assert other is not None
    assert (ours.ours, ours.device, other.ours) == (True, "eth1", False)
