"""Rendered files are judged before a machine sees them: line, key, and what was meant."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.boot import shell, validate

HEAD = "#cloud-config\n"

COMPLETE = """\
#cloud-config
hostname: node1.rack.example
manage_etc_hosts: localhost
ssh_authorized_keys:
  - ssh-ed25519 AAAA core@example
users:
  - name: ada
    passwd: $6$rounds=4096$x$y
    gecos: Ada
    groups: [sudo, docker]
    ssh-authorized-keys: ["ssh-ed25519 AAAA"]
    no-user-group: true
    shell: /bin/bash
write_files:
  - path: /etc/motd
    permissions: "0644"
    owner: root:root
    encoding: base64
    content: aGVsbG8K
coreos:
  etcd2:
    name: node1
    listen-client-urls: http://0.0.0.0:2379
    heartbeat_interval: 100
    client_cert_auth: true
  fleet: {public-ip: 10.12.1.1, metadata: "rack=1"}
  flannel: {interface: 10.12.1.1}
  locksmith: {window_start: Thu 04:00, window_length: 1h}
  update: {reboot-strategy: off, group: stable}
  oem: {id: example, version-id: 1}
  units:
    - name: docker.service
      drop-ins:
        - name: 50-mirror.conf
          content: |
            [Service]
            Environment=A=b
    - name: 00-eth.network
      runtime: true
      content: |
        [Match]
        Name=eth*
        \tType=ether
    - name: etcd2.service
      enable: true
      command: start
"""


def told(text: str) -> list[str]:
    return [str(problem) for problem in validate.cloud_config(text, "config.yml")]


def test_every_section_in_its_proper_form_is_accepted() -> None:
    assert told(COMPLETE) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "coreos:\n  units:\n    - name: a.service\n      comand: start\n",
            "5: coreos.units[0].comand: unknown key; did you mean 'command'?",
        ),
        ("hostnam: a\n", "2: hostnam: unknown key; did you mean 'hostname'?"),
        (
            "runcmd: []\n",
            "2: runcmd: unknown key; known here: hostname, manage_etc_hosts, ssh_authorized_keys, users",
        ),
        ("hostname: 5\n", "2: hostname: 5 must be text; put quotes around it"),
        ("hostname: Node_1\n", "2: hostname: 'Node_1' is not a host name of lower-case letters, digits and -"),
        ("ssh_authorized_keys: ssh-rsa A\n", "2: ssh_authorized_keys: 'ssh-rsa A' must be a list"),
        (
            "coreos:\n  units:\n    - name: a\n      command: start\n",
            "4: coreos.units[0].name: 'a' is not a unit name; it ends in .service, .timer, .network",
        ),
        (
            "coreos:\n  units:\n    - name: a.service\n      command: begin\n",
            "5: coreos.units[0].command: 'begin' should be '', 'start', 'stop', 'restart'",
        ),
        (
            "coreos:\n  units:\n    - name: a.service\n",
            "4: coreos.units[0]: does nothing; give it content, a command",
        ),
        (
            "coreos:\n  units:\n    - {name: a.service, enable: yes}\n",
            "4: coreos.units[0].enable: 'yes' must be true or false",
        ),
        (
            "write_files:\n  - path: /etc/a\n    permissions: 0644\n",
            "4: write_files[0].permissions: 644 must be text; put quotes around it",
        ),
        (
            "write_files:\n  - path: /etc/a\n    permissions: rw\n",
            "4: write_files[0].permissions: 'rw' is not a file mode; write it quoted, like \"0644\"",
        ),
        ("write_files:\n  - path: etc/a\n", "3: write_files[0].path: 'etc/a' is not an absolute path of a file"),
        (
            "write_files:\n  - path: /usr/a\n",
            "3: write_files[0].path: '/usr/a' lies below /usr, which is read-only",
        ),
        ("write_files:\n  - content: a\n", "3: write_files[0].path: is missing"),
        (
            "coreos:\n  units:\n    - {name: a.service, command: start}\n    - {name: a.service, mask: true}\n",
            "5: coreos.units[1].name: 'a.service' is already in coreos.units[0]; keep one",
        ),
        (
            "users:\n  - name: a\n    ssh-authorized-keys: []\n    ssh_authorized_keys: []\n",
            "5: ssh_authorized_keys: is written twice (- and _ are the same here); keep one",
        ),
        ("hostname: a\nhostname: b\n", "3: hostname: is written twice; keep one"),
        ("coreos:\n\tunits: []\n", "3: indented with a tab; YAML wants spaces"),
        ("hostname: a\n---\nhostname: b\n", "3: a second document begins here (`---`); a file holds one"),
        ("coreos: {etcd2: {nam: a}}\n", "2: coreos.etcd2.nam: unknown key; did you mean 'name'?"),
        ("coreos: {update: {reboot_strategy: never}}\n", "2: coreos.update.reboot_strategy: 'never' should be"),
        ("hostname: [a\n", "3: not YAML: "),
    ],
)
def test_a_fault_has_line_key_and_what_was_meant(text: str, problem: str) -> None:
    (said,) = told(HEAD + text)
    assert said.startswith(f"config.yml:{problem}")


def test_without_its_first_line_it_is_no_cloud_config() -> None:
    assert told("hostname: a\n") == [
        "config.yml:1: the first line must be `#cloud-config`; without it the machine ignores the file"
    ]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_judged_and_never_breaks_the_judge(text: str) -> None:
    for problem in validate.cloud_config(HEAD + text, "config.yml"):
        assert str(problem).startswith("config.yml")


def test_a_broken_shell_script_is_told_with_its_line() -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    (problem, *_) = shell.faults("true\nif true; then\n  echo 'x\n", "install.sh")
    assert (problem.file, problem.line) == ("install.sh", 3)
    assert "unexpected EOF" in problem.message
    assert shell.faults("true\n", "install.sh") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[Network]\nAddress=10.12.1.1/24\n", "network: [Match]: is missing or empty"),
        ("MACAddress=a\n[Match]\nName=a\n", "network:1: MACAddress: stands before the first [Section]"),
        ("[Match]\nName=a\nnonsense\n", "network:3: 'nonsense' is neither [Section] nor Key=Value"),
    ],
)
def test_a_network_file_that_would_match_everything_is_refused(text: str, problem: str) -> None:
    (said,) = validate.network(text, "network")
    assert str(said).startswith(problem)
