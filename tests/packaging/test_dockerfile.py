"""The container image: what its file promises, and its steps run one by one in a chroot."""

import glob
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import Wire, wire
from tests.packaging import chroot
from tests.packaging.chroot import TREE, Chroot
from tests.packaging.dockerfile import Stage, stages

FILE = TREE / "Dockerfile"
_RIGHTS = "net_bind_service,net_raw"


def last() -> Stage:
    return stages(FILE)[-1]


def test_it_has_a_stage_that_builds_and_one_that_serves() -> None:
    build, served = stages(FILE)
    assert (build.base, served.base) == ("debian:12-slim", "debian:12-slim")
    assert [step for step in served.all("COPY") if f"--from={build.name} " not in step] == []
    # What only building needs does not reach the image that serves.
    assert not re.search(r"\b(git|make|npm|python3-venv)\b", " ".join(served.all("RUN")))


def test_its_process_is_not_root_and_asks_for_two_capabilities_only() -> None:
    assert last().all("USER") == ["provisioner"]
    granted = [re.findall(r"setcap (\S+) ", step) for step in last().all("RUN")]
    assert granted == [["cap_net_bind_service,cap_net_raw+ep"]]


def test_apt_leaves_no_lists_and_installs_nothing_that_was_not_asked_for() -> None:
    for stage in stages(FILE):
        for step in stage.all("RUN"):
            if "apt-get install" in step:
                assert step.startswith("apt-get update && "), step
                assert "--no-install-recommends" in step, step
                assert "rm -rf /var/lib/apt/lists/*" in step, step


def test_it_is_told_apart_by_signals_health_and_data() -> None:
    stage = last()
    # The exec form: a shell as process 1 would keep SIGTERM to itself.
    assert stage.argv("ENTRYPOINT") == ["provisioner"]
    assert stage.argv("CMD") == ["serve"]
    assert stage.all("VOLUME") == ["/var/lib/provisioner"]
    assert stage.all("EXPOSE") == ["67/udp 69/udp 80 8080 8081"]
    assert "/healthz" in stage.all("HEALTHCHECK")[0]


def test_what_is_built_here_is_not_sent_to_the_builder() -> None:
    ignored = (TREE / ".dockerignore").read_text().split()
    assert {".venv", ".cache", "build", "netboot_assets/build", "provisioner/web/static/vendor"} <= set(ignored)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """Both stages, each on a fresh Debian 12 as debian:12-slim is one."""
    build, served = stages(FILE)
    folder = tmp_path_factory.mktemp("image")
    with chroot.fresh(folder / "build") as builder, chroot.fresh(folder / "image") as made:
        where = "/"
        for instruction, arguments in build.steps:
            if instruction == "WORKDIR":
                where = arguments
            elif instruction == "COPY":
                builder.clone(where)
            elif instruction == "RUN":
                builder.run("sh", "-c", arguments, cwd=where, timeout=1200)
        for instruction, arguments in served.steps:
            if instruction == "COPY":
                _, source, target = arguments.split()
                for file in glob.glob(str(builder.inside(source))):  # noqa: PTH207 - absolute pattern
                    shutil.copy(file, made.inside(target))
            elif instruction == "RUN":
                made.run("sh", "-c", arguments, cwd="/", timeout=600)
        yield made


def _as_run(image: Chroot, *argv: str) -> list[str]:
    """As an engine runs it: not root, nothing in the bounding set but the two, no ambient ones."""
    user = last().all("USER")[0]
    limits = [f"--reuid={user}", f"--regid={user}", "--init-groups"]
    drop = [f"--bounding-set=-all,+{_RIGHTS.replace(',', ',+')}", "--inh-caps=-all"]
    return image.argv("setpriv", *limits, *drop, *argv, cwd="/")


def _healthy(image: Chroot, on: Wire) -> bool:
    probe = last().all("HEALTHCHECK")[0]
    argv = Stage("", steps=[("CMD", probe.partition(" CMD ")[2])]).argv("CMD")
    done = subprocess.run(
        [*on.exec(on.server), *_as_run(image, *argv)], capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.rule("threat-12")
def test_its_steps_make_an_appliance_that_serves_without_root(image: Chroot, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with wire() as on:
        argv = _as_run(image, *last().argv("ENTRYPOINT"), *last().argv("CMD"), "--interface", "br0")
        assert not _healthy(image, on)
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [*on.exec(on.server), *argv], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            ) as process,
        ):
            try:
                until = time.monotonic() + 90
                while not _healthy(image, on) or "packets served" not in log.read_text():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < until, log.read_text()
                    time.sleep(0.5)
                listening = subprocess.run(
                    [*on.exec(on.server), "ss", "-Hlntu"], capture_output=True, text=True, timeout=20, check=True
                ).stdout
                assert {port for port in ("67", "69", "80", "8080", "8081") if f":{port} " in listening} == {
                    "67", "69", "80", "8080", "8081",
                }  # fmt: skip
            finally:
                process.kill()
                process.wait(30)
