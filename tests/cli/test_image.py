"""``provisioner image``: the named commands, from a publisher's folder to another appliance by a bundle."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.images.mirror import Signer, mirror
from tests.images.mirror import flatcar as published
from tests.images.publisher import KERNEL, flatcar


def test_a_release_is_imported_listed_verified_and_removed(run: Run, tmp_path: Path) -> None:
    release = flatcar(tmp_path / "release")
    assert run("image", "import", str(release), "--name", "os").out.strip().endswith("complete")
    files = [str(path) for path in sorted(release.iterdir())]
    made = run("image", "import", *files, "--name", "os", "--version", "2", "--json").json
    assert (made["name"], made["version"], made["problems"]) == ("os", "2", [])
    assert [image["version"] for image in run("image", "list", "--json").json] == ["2", "3815.2.0"]
    assert run("image", "verify", "os", "2").code == 0
    assert run("image", "remove", "os", "2").out.strip() == "os 2 removed"
    assert [image["version"] for image in run("image", "list", "--json").json] == ["3815.2.0"]
    unnamed = run("image", "import", str(release))
    assert (unnamed.code, "--name flatcar" in unnamed.err) == (1, True)


def test_what_programs_read_of_fetch_verify_and_remove(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.make(tmp_path / "gpg")
    try:
        with mirror() as origin:
            published(origin, tmp_path / "release", signer)
            source = {"url": origin.url, "keyring": str(signer.armored)}
            monkeypatch.setenv("PROVISIONER_IMAGES__SOURCES__FLATCAR", json.dumps(source))
            fetched = run("image", "fetch", "flatcar", "--json").json
    finally:
        signer.end()
    assert (fetched["name"], fetched["version"], fetched["problems"]) == ("flatcar", "3815.2.0", [])
    assert run("image", "verify", "flatcar", "--json").json == {
        "name": "flatcar",
        "version": "3815.2.0",
        "problems": [],
    }
    kernel = tmp_path / "data" / "images" / "flatcar" / "3815.2.0" / KERNEL
    content = bytearray(kernel.read_bytes())
    content[-1] ^= 1
    kernel.chmod(0o600)
    kernel.write_bytes(content)
    damaged = run("image", "verify", "flatcar", "--json")
    assert (damaged.code, KERNEL in damaged.json["problems"][0]) == (1, True)
    removed = run("image", "remove", "flatcar", "3815.2.0", "--force", "--json").json
    assert removed == {"name": "flatcar", "version": "3815.2.0", "removed": True}


def test_a_version_that_a_role_installs_is_not_removed(run: Run, tmp_path: Path) -> None:
    run("image", "import", str(flatcar(tmp_path / "release")), "--name", "flatcar")
    refused = run("image", "remove", "flatcar", "3815.2.0")
    assert (refused.code, "is used by role" in refused.err) == (1, True)
    assert run("image", "remove", "flatcar", "3815.2.0", "--force").code == 0


def test_a_bundle_goes_from_one_appliance_to_another(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("image", "import", str(flatcar(tmp_path / "release")), "--name", "flatcar")
    file = tmp_path / "rack.bundle"
    made = run("image", "export", str(file), "--role", "simple", "--json").json
    monkeypatch.setenv("PROVISIONER_DATA_DIR", str(tmp_path / "other"))
    refused = run("image", "import", str(file))
    assert (refused.code, made["signer"] in refused.err) == (1, True)
    assert run("image", "list", "--json").json == []
    taken = run("image", "import", str(file), "--trust", made["signer"], "--json").json
    assert taken == {"signer": made["signer"], "added": ["image flatcar 3815.2.0"], "known": ["role simple"]}
    monkeypatch.setenv("PROVISIONER_IMAGES__TRUSTED", f'["{made["signer"]}"]')
    assert run("image", "import", str(file), "--json").json["added"] == []
