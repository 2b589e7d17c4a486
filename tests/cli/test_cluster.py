"""``provisioner cluster``: listed, changed, reaching a machine's config, and not removed under its members."""

import shutil
from pathlib import Path

from tests.cli.conftest import Run

SHIPPED = Path(__file__).parents[2] / "cloud_configs"


def test_a_clusters_endpoint_reaches_its_machines_config(run: Run, tmp_path: Path, release: Path) -> None:
    roles = tmp_path / "data" / "cloud_configs"
    assert "provisioner cluster add core" in run("cluster", "list").out
    assert run("cluster", "add", "core", "--endpoint", "10.12.1.10:6443").out == "core: endpoint 10.12.1.10:6443\n"
    assert run("cluster", "set", "core", "--endpoint", "https://core.example.org:6443").code == 0
    assert run("subnet", "add", "10.12.1.0/24", "--gateway", "10.12.1.1").code == 0
    assert run("image", "import", str(release), "--name", "flatcar").code == 0
    words = ("--mac", "52:54:00:00:00:01", "--ip", "10.12.1.11", "--role", "told", "--cluster", "core")
    told = roles / "told"
    told.mkdir(parents=True)
    shutil.copytree(SHIPPED / "_shared", roles / "_shared")
    (told / "role.yaml").write_text("description: says its cluster\nimage: flatcar\nformat: cloud-config\n")
    (told / "config.yml.j2").write_text(
        "#cloud-config\nwrite_files:\n- path: /etc/core\n  content: {{ cluster.endpoint | tojson }}\n"
    )
    config = tmp_path / "p.toml"
    config.write_text(f'cloud_configs = "{roles}"\n')
    given = ("--config", str(config))
    added = run("machine", "add", "--name", "node-01", *words, *given)
    assert added.code == 0, added.err
    rendered = run("role", "render", "node-01", *given)
    assert '"https://core.example.org:6443"' in rendered.out, rendered.err
    assert run("cluster", "list", "--json").json[0]["machines"] == ["node-01"]
    refused = run("cluster", "remove", "core")
    assert (refused.code, "used by slot node-01" in refused.err) == (1, True), refused.err
    assert run("machine", "remove", "node-01").code == 0
    assert run("cluster", "remove", "core").code == 0
    assert run("cluster", "list", "--json").json == []


def test_what_is_no_endpoint_is_refused(run: Run) -> None:
    for bad in ("10.12.1.10:99999", "a b", "$(reboot)", "ftp://x", "x" * 300):
        refused = run("cluster", "add", "core", "--endpoint", bad)
        assert (refused.code, "endpoint" in refused.err, "HOST:PORT" in refused.err) == (1, True, True), bad
    assert "name 'Core'" in run("cluster", "add", "Core").err
    assert run("cluster", "add", "core").code == 0
    assert "already belongs to cluster core" in run("cluster", "add", "core").err
    assert "no cluster 'edge'" in run("cluster", "set", "edge", "--endpoint", "x").err
