"""Images over the API: listed with their users, fetched as a job, removed only when nobody needs them."""

from pathlib import Path

from starlette.testclient import TestClient

from tests.images.publisher import KERNEL, flatcar
from tests.web.appliance import Appliance

API = "/api/v1"


def test_an_image_is_listed_with_files_times_and_users(
    tmp_path: Path, appliance: Appliance, api: TestClient
) -> None:
    images = appliance.parts.images.store
    for version in ("3510.2.8", "3815.2.0"):
        images.import_dir(flatcar(tmp_path / version, version), "flatcar")
    old, new = api.get(f"{API}/images").json()["items"]
    assert (old["version"], old["used_by"]) == ("3510.2.8", [])
    assert (new["version"], new["used_by"], new["problems"]) == ("3815.2.0", ["role simple"], [])
    assert new["verified_at"].startswith("2023-11-14T22:13:20")
    kernel = next(file for file in new["files"] if file["name"] == KERNEL)
    assert kernel["url"] == f"/images/flatcar/3815.2.0/{KERNEL}"
    assert api.get(f"{API}/images/flatcar/3815.2.0").json() == new


def test_fetch_and_verify_are_jobs(tmp_path: Path, appliance: Appliance, api: TestClient) -> None:
    asked = api.post(f"{API}/images/fetch", json={"publisher": "flatcar", "stream": "beta"})
    assert (asked.status_code, asked.json()["kind"], asked.json()["state"]) == (202, "image-fetch", "queued")
    assert api.get(asked.headers["location"]).json()["args"]["stream"] == "beta"
    appliance.parts.images.store.import_dir(flatcar(tmp_path / "r"), "flatcar")
    assert api.post(f"{API}/images/flatcar/3815.2.0/verify").json()["kind"] == "image-verify"
    assert api.post(f"{API}/images/flatcar/1.0/verify").status_code == 404
    wrong = api.post(f"{API}/images/fetch", json={"publisher": "gentoo"})
    assert wrong.status_code == 422


def test_an_import_is_a_job_for_what_was_copied_to_the_appliance(api: TestClient) -> None:
    refused = api.post(f"{API}/images/import", json={"source": "release", "name": "flatcar"})
    assert refused.status_code == 409
    assert "image import" in refused.json()["detail"] + refused.json().get("remedy", "")


def test_a_version_that_is_needed_stays(tmp_path: Path, appliance: Appliance, api: TestClient) -> None:
    images = appliance.parts.images.store
    images.import_dir(flatcar(tmp_path / "r"), "flatcar")
    refused = api.delete(f"{API}/images/flatcar/3815.2.0")
    assert refused.status_code == 409
    assert "is used by role simple" in refused.json()["detail"]
    assert images.versions("flatcar") == ["3815.2.0"]
    assert api.delete(f"{API}/images/flatcar/3815.2.0?force=true").status_code == 204
    assert api.get(f"{API}/images/flatcar/3815.2.0").status_code == 404
