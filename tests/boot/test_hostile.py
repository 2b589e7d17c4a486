"""Hostile values in parameters, labels and serial numbers stay data in every shipped role.

A new folder is tested by being there.

The oracle: each file is, to the byte, what a harmless value gives, with that value replaced in its own quoting. A
value that cannot stand in its place is refused instead.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from provisioner.boot.quoting import shell_word, yaml_scalar
from provisioner.domain.errors import Refused
from tests.cloud_configs.shipped import FOLDER, NAMES, cluster_of, compile_for

pytestmark = pytest.mark.thorough

HARMLESS, LABEL = "harm less", "zo ne"
HOSTILE = st.text(
    st.one_of(st.sampled_from("\n\r\t\"'\\$`{}[]#&|;:%!*<>- "), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=30,
)
NASTY = (
    "a\n[Service]\nExecStart=/bin/evil",
    "x\"; touch /evil; '",
    "$(touch /evil) `touch /evil` ${net0/mac}",
    "{{ 7 * 7 }} {% include 'x' %}",
    "a: b\n- c: d\n---\n",
    "d-i x/y string z \\",
)


def files_for(role: str, value: str, label: str) -> Mapping[str, bytes]:
    """Raises Refused."""
    params = {name: _shaped(role, name, value, label) for name in settable(role)}
    target, *others = cluster_of(role, params=params)
    target = replace(target, labels={label: value}, serial=value)
    compiled = compile_for(target, *others)
    short = compiled.revision[:12].encode()
    return {name: data.replace(short, b"R") for name, data in compiled.files.items()}


def _shaped(role: str, name: str, value: str, label: str) -> Any:
    kind = FOLDER.get(role).settings.parameters[name].type
    return {"string": value, "list": [value], "map": {label: value}}[kind]


@cache
def settable(role: str) -> tuple[str, ...]:
    """The parameters that take any text; a harmless one in the others is refused already."""
    found = []
    for name, parameter in FOLDER.get(role).settings.parameters.items():
        if parameter.type in ("string", "list", "map"):
            target, *others = cluster_of(role, params={name: _shaped(role, name, HARMLESS, LABEL)})
            try:
                compile_for(target, *others)
            except Refused:
                continue
            found.append(name)
    return tuple(found)


@cache
def harmless(role: str) -> Mapping[str, bytes]:
    return files_for(role, HARMLESS, LABEL)


def with_value(text: str, value: str, label: str) -> str:
    """What a harmless text is with these values: whole, as a shell's word, as a YAML or JSON string, or bare."""
    for tame, wild in ((LABEL, label), (HARMLESS, value)):
        if text == tame:
            return wild
        for quoted in (shell_word, yaml_scalar):
            if quoted(tame) in text:
                text = text.replace(quoted(tame), quoted(wild))
        if "\n" not in wild:
            text = text.replace(tame, wild)
    return text


def as_words(text: str) -> list[str]:
    """As a shell reads it: a word may be a value and what stands before it (``--mirror=…``), quoted together."""
    return [word for line in text.split("\n") for word in (*shlex.split(line, comments=True), "\n")]


def unescaped(word: str) -> str:
    """TOML and JSON write a character as its number, as our YAML does."""
    return re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", lambda found: chr(int(found[1] or found[2], 16)), word)


def embedded(text: str) -> list[Any] | None:
    """The YAML documents that a file's text is, like a manifest for Kubernetes; None if it is something else."""
    try:
        documents = list(YAML(typ="safe", pure=True).load_all(text))
    except YAMLError:
        return None
    return documents if all(isinstance(document, dict) for document in documents) else None


def same(tame: Any, wild: Any, value: str, label: str, place: str) -> None:
    """Walks through both, and through what they carry as data URLs."""
    if isinstance(tame, dict):
        assert isinstance(wild, dict), place
        assert [with_value(str(key), value, label) for key in tame] == list(map(str, wild)), place
        for (key, left), right in zip(tame.items(), wild.values(), strict=True):
            same(left, right, value, label, f"{place}.{key}")
    elif isinstance(tame, list):
        assert isinstance(wild, list), place
        assert len(tame) == len(wild), place
        for at, (left, right) in enumerate(zip(tame, wild, strict=True)):
            same(left, right, value, label, f"{place}[{at}]")
    elif isinstance(tame, str) and tame.startswith("data:"):
        left, right = (unquote_to_bytes(str(url).partition(",")[2]).decode() for url in (tame, wild))
        same(left, right, value, label, place)
    elif isinstance(tame, str):
        if wild == with_value(tame, value, label):
            return
        left, right = embedded(tame), embedded(wild)
        if left is not None:
            same(left, right, value, label, place)
        else:
            words = [with_value(word, value, label) for word in as_words(tame)]
            assert list(map(unescaped, as_words(wild))) == list(map(unescaped, words)), place
    else:
        assert tame == wild, place


def read(name: str, data: bytes) -> Any:
    if name.endswith((".json", ".ign")):
        return json.loads(data)
    if name.endswith((".yml", ".yaml")) or name in ("user-data", "meta-data"):
        return YAML(typ="safe", pure=True).load(data.decode())
    return data.decode()


@pytest.mark.rule("threat-07")
@pytest.mark.rule("threat-08")
@pytest.mark.parametrize("role", NAMES)
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(value=HOSTILE, label=HOSTILE)
@example(value=NASTY[0], label=NASTY[4])
@example(value=NASTY[1], label=NASTY[3])
@example(value=NASTY[2], label=NASTY[1])
@example(value=NASTY[5], label="zone")
def test_hostile_values_stay_data_in_every_shipped_role(role: str, value: str, label: str) -> None:
    assume("@@" not in value + label)
    try:
        files = files_for(role, value, label)
    except Refused:
        return
    expected = harmless(role)
    assert sorted(files) == sorted(expected)
    for name, data in files.items():
        same(read(name, expected[name]), read(name, data), value, label, name)


@pytest.mark.parametrize("role", NAMES)
def test_what_is_only_unusual_is_not_refused(role: str) -> None:
    """The property above would hold of a role that refuses everything."""
    same_files = files_for(role, "it's #1; $so", "z1")
    assert sorted(same_files) == sorted(harmless(role))
