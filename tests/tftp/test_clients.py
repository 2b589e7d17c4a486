"""Programs that people and firmware authors use: curl, atftp, tftp-hpa, tftpy's client."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.tftp.limits import Limits
from tests.netns import Wire, sh, wire
from tests.tftp.serving import Serving, serving

pytestmark = pytest.mark.system

SIZES = {"empty": 0, "exact": 512 * 40, "exact1468": 1468 * 7, "loader": 174_321, "big": 5_000_000}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    root = tmp_path_factory.mktemp("tftp")
    for name, size in SIZES.items():
        (root / name).write_bytes(os.urandom(size))
    with serving(root) as running:
        yield running, root


CLIENTS = {
    "curl": "curl -sS --max-time 30 -o {out} tftp://127.0.0.1:{port}/{name}",
    "curl-blksize": "curl -sS --max-time 30 --tftp-blksize 1428 -o {out} tftp://127.0.0.1:{port}/{name}",
    "curl-no-options": "curl -sS --max-time 30 --tftp-no-options -o {out} tftp://127.0.0.1:{port}/{name}",
    "atftp": "atftp --get -r {name} -l {out} 127.0.0.1 {port}",
    "atftp-window": "atftp --option|blksize 1428|--option|windowsize 16|--get -r {name} -l {out} 127.0.0.1 {port}",
    "atftp-odd": "atftp --option|tsize 0|--option|timeout 3|--option|blksize 8192|"
    "--get -r {name} -l {out} 127.0.0.1 {port}",
    "tftp-hpa": "tftp -m binary 127.0.0.1 {port} -c get {name} {out}",
    "tftpy": f"{sys.executable} -c|import tftpy,sys; tftpy.TftpClient(sys.argv[1], int(sys.argv[2]), "
    "dict(blksize=1468, tsize=0)).download(sys.argv[3], sys.argv[4])|127.0.0.1 {port} {name} {out}",
}


def argv(line: str, **values: object) -> list[str]:
    """Words are separated by spaces; between bars a space belongs to the word."""
    words: list[str] = []
    for index, piece in enumerate(line.format(**values).split("|")):
        words += [piece] if index % 2 else piece.split()
    return words


@pytest.mark.rule("tftp-12")
@pytest.mark.parametrize("name", [name for name in SIZES if name != "big"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_real_client_gets_every_byte(made: tuple[Serving, Path], client: str, name: str, tmp_path: Path) -> None:
    running, root = made
    if name == "empty" and client in ("curl", "curl-blksize"):
        pytest.skip("curl takes a tsize of 0 for an error")
    out = tmp_path / "out"
    subprocess.run(
        argv(CLIENTS[client], port=running.port, name=name, out=out), check=True, timeout=60, capture_output=True
    )
    got = out.read_bytes() if out.exists() else b""  # curl and atftp make no file for an empty one.
    assert got == (root / name).read_bytes()


@pytest.mark.rule("tftp-19")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_real_client_gets_every_byte_by_a_single_port(tmp_path: Path, client: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "loader").write_bytes(os.urandom(SIZES["loader"]))
    with serving(root, limits=Limits(single_port=True)) as running:
        command = argv(CLIENTS[client], port=running.port, name="loader", out=tmp_path / "out")
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        assert (tmp_path / "out").read_bytes() == (root / "loader").read_bytes()
        assert "read loader" in running.recorder.wait_for("read loader").message


@pytest.mark.rule("tftp-18")
def test_a_storm_of_clients_is_served(made: tuple[Serving, Path], tmp_path: Path) -> None:
    running, root = made
    script = CLIENTS["curl-blksize"]

    def one(number: int) -> bytes:
        out = tmp_path / str(number)
        subprocess.run(argv(script, port=running.port, name="big", out=out), check=True, timeout=100)
        return out.read_bytes()

    with ThreadPoolExecutor(24) as pool:
        got = list(pool.map(one, range(24)))
    assert set(got) == {(root / "big").read_bytes()}


@contextmanager
def on_a_wire(cable: Wire, root: Path) -> Iterator[Callable[[], str]]:
    """A server at port 69 of the wire; what is given waits for its end and says what it observed."""
    program = (
        "import sys, pathlib\n"
        "from ipaddress import ip_address\n"
        "from tests.tftp.serving import serving\n"
        f"with serving(pathlib.Path({str(root)!r}), listen='0.0.0.0', port=69) as made:\n"
        "    print('up', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print(*(e.message for e in made.recorder.events), sep='\\n')\n"
    )
    server = subprocess.Popen(
        [*cable.exec(cable.server), sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        yield lambda: server.communicate("\n", timeout=20)[0]
    finally:
        server.kill()
        server.wait(10)


def by_windows(cable: Wire, client: str, out: Path) -> subprocess.CompletedProcess[str]:
    line = "atftp --option|blksize 65464|--option|windowsize 8|--verbose --trace --get -r loader -l {out} 10.98.7.1"
    command = [*cable.exec(client), *argv(line, out=out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.rule("tftp-01")
@pytest.mark.rule("tftp-05")
def test_across_a_wire_that_loses_packets_the_blocks_fit_the_mtu_and_all_arrives(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (root / "loader").write_bytes(os.urandom(60_000))
    with wire("10.98.7.1/24") as cable:
        client = cable.plug("a", "52:54:00:12:34:56", "10.98.7.2/24")
        with on_a_wire(cable, root) as observed:
            rules = tmp_path / "rules"
            rules.write_text(
                "table inet t {\n chain c {\n  type filter hook input priority 0\n"
                "  meta l4proto udp numgen random mod 100 < 4 drop\n }\n}\n"
            )
            sh(*cable.exec(client), "nft", "-f", str(rules))
            done = by_windows(cable, client, out)
            assert out.read_bytes() == (root / "loader").read_bytes(), done.stderr
            assert "blksize: 1468" in done.stdout + done.stderr
            assert "10.98.7.2 read loader, 60 kB" in observed()


@pytest.mark.rule("tftp-08")
def test_where_the_kernel_cannot_cut_a_window_its_blocks_are_sent_one_by_one(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (root / "loader").write_bytes(os.urandom(60_000))
    with wire("10.98.7.1/24") as cable:
        client = cable.plug("a", "52:54:00:12:34:56", "10.98.7.2/24")
        # A block is larger than this route's packets: as a part of a window it is refused, alone it is fragmented.
        sh("ip", "-n", cable.server, "route", "add", "10.98.7.2/32", "dev", "br0", "mtu", "1000")
        with on_a_wire(cable, root) as observed:
            done = by_windows(cable, client, out)
            assert out.read_bytes() == (root / "loader").read_bytes(), done.stderr
            assert "10.98.7.2 read loader, 60 kB" in observed()
