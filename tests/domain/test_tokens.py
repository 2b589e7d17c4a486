"""Tokens are stable, different by purpose and install, and reach the bytes only when they are served."""

from uuid import UUID

import pytest

from provisioner.domain import tokens

ID = UUID(int=7)


def test_a_token_is_the_same_every_time_and_safe_in_a_url() -> None:
    token = tokens.install_token(b"k" * 32, ID)
    assert token == tokens.install_token(b"k" * 32, ID)
    assert len(token) == 43
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.rule("threat-01")
@pytest.mark.rule("threat-03")
def test_tokens_differ_by_key_install_and_purpose() -> None:
    known = {
        tokens.install_token(b"k" * 32, ID),
        tokens.machine_token(b"k" * 32, ID),
        tokens.install_token(b"K" * 32, ID),
        tokens.install_token(b"k" * 32, UUID(int=8)),
    }
    assert len(known) == 4


def test_serving_fills_every_placeholder() -> None:
    compiled = b"http://@@SERVER@@/b/@@INSTALL_TOKEN@@/pxe.yml http://@@SERVER@@/m/@@MACHINE_TOKEN@@/active"
    served = tokens.fill(compiled, install_token="I", machine_token="M", server="10.12.1.1")
    assert served == b"http://10.12.1.1/b/I/pxe.yml http://10.12.1.1/m/M/active"
