"""Debian's real installer, netbooted by the role ``debian`` on real firmware, as far as it gets on a wire without a
mirror: it brings its network up, fetches our preseed, and asks the mirror that the preseed names."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_rack import Lab, end, start
from tests.netns import sh

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2000)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("debian")
    script = (
        'cd "$1" && apt-get download debian-installer-12-netboot-amd64 && dpkg-deb -x debian-installer-*.deb di'
    )
    sh("bash", "-c", script, "bash", str(folder), timeout=300)
    image = folder / "image"
    image.mkdir()
    for name in ("linux", "initrd.gz"):
        shutil.copy(
            folder / "di/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64" / name, image
        )
    options = ("--machines", "1", "--firmware", "bios", "--role", "debian", "--timeout", "1500")
    lab = start(folder / "lab", *options, "--image", f"debian={image}")
    try:
        yield lab
    finally:
        end(lab)


def test_the_real_installer_fetches_our_preseed_and_goes_on_with_it(lab: Lab) -> None:
    until, told = time.monotonic() + 1200, ""
    while "read preseed.cfg" not in told:
        assert time.monotonic() < until, f"no preseed was fetched: {told}\n{lab.log()}"
        assert lab.process.poll() is None, lab.log()
        time.sleep(5)
        told = _events(lab)
    assert "install script handed out, attempt 1 of 3" in told
    # The next that the installer does by our answers is to ask the mirror for its release.
    console = lab.directory.parent / "lab"
    until = time.monotonic() + 300
    while not _asked_for_a_mirror(console):
        assert time.monotonic() < until, f"the installer stopped after the preseed: {_events(lab)}"
        time.sleep(5)


def _events(lab: Lab) -> str:
    try:
        events = lab.ask("machine", "events", "node-01", "--limit", "200")
    except (ValueError, RuntimeError) as error:  # the rack is still being built
        return str(error)
    return " / ".join(event["message"] for event in events)


def _asked_for_a_mirror(lab: Path) -> bool:
    consoles = [file.read_text(errors="replace") for file in lab.rglob("console.log")]
    return any("mirror" in console.lower() for console in consoles)
