"""Templates run in a cage: what they may not do, how long they may take, and what is said when they fail."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.boot.render import Renderer, TemplateRefused

CONTEXT: dict[str, Any] = {
    "machine": {"name": "node1", "labels": {"zone": "a"}, "serial": "{{ 7 * 7 }}"},
    "params": {"keys_of": ["a b", "c'd"], "none": None},
    "cluster": {"name": "blue", "machines": [{"name": "node1", "role": "worker", "ip": "10.12.1.1"}]},
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(seconds=0.5, max_bytes=10_000)
    yield made
    made.close()


def render(renderer: Renderer, text: str) -> str:
    return renderer.render("simple", {"config.yml.j2": text}, "config.yml.j2", CONTEXT)


def refusal(renderer: Renderer, text: str) -> TemplateRefused:
    with pytest.raises(TemplateRefused) as caught:
        render(renderer, text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ machine.name }}\n", "node1\n"),
        ("{% for k, v in machine.labels.items() %}{{ k }}={{ v }}{% endfor %}", "zone=a"),
        ("{{ cluster.first('worker').ip }} {{ cluster.members('other')|length }}", "10.12.1.1 0"),
        ("{{ params.keys_of|sh }}", "'a b' 'c'\"'\"'d'"),
        ("{{ params.keys_of|yaml }}", '["a b", "c\'d"]'),
        ("{{ params.other is defined }}", "false"),
    ],
)
def test_templates_see_what_the_design_promises(renderer: Renderer, text: str, result: str) -> None:
    assert render(renderer, text) == result


@pytest.mark.rule("threat-07")
def test_a_fact_that_looks_like_a_template_stays_text(renderer: Renderer) -> None:
    assert render(renderer, "{{ machine.serial }}") == "{{ 7 * 7 }}"


@pytest.mark.rule("threat-07")
@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ cluster.members.__globals__ }}",
        "{{ cluster.members.__code__.co_consts }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''['__class__'] }}",
        "{{ '{0.__class__}'.format(machine) }}",
        "{{ lipsum.__globals__['os'].environ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% for x in [].__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
        "{% set _ = params.update(x=1) %}",
    ],
)
def test_a_template_cannot_reach_out_of_its_cage(renderer: Renderer, text: str) -> None:
    refusal(renderer, text)


@pytest.mark.rule("threat-07")
@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (
            "a\nb\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            3,
            "longer than 0.5 s",
        ),
        ("{{ 'x' * 10 ** 9 }}", 1, "memory"),
        ("{% for a in range(9999) %}0123456789{% endfor %}", None, "more than 10000 bytes"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 1, "recursion"),
        ("{{ 9 ** (9 ** 9) }}", None, "was killed"),
    ],
)
def test_a_template_without_end_is_an_error_that_names_it(
    renderer: Renderer, text: str, line: int | None, why: str
) -> None:
    started = time.monotonic()
    error = refusal(renderer, text)
    assert time.monotonic() - started < 10
    assert (error.role, error.file) == ("simple", "config.yml.j2")
    if line is not None:
        assert error.line == line
    assert why in str(error)
    assert render(renderer, "{{ machine.name }}") == "node1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a\n{{ machine.nam }}",
            "simple/config.yml.j2:2: 'nam' is not defined; did you mean 'name'? There is: labels",
        ),
        ("{{ machin }}", "simple/config.yml.j2:1: 'machin' is undefined"),
        ("a\n{% if %}", "simple/config.yml.j2:2: Expected an expression"),
        ("{{ params.none }}", "simple/config.yml.j2:1: a NoneType cannot be printed"),
        ("{{ params.keys_of }}", "simple/config.yml.j2:1: a list cannot be printed; use |yaml"),
        ("{{ cluster.first('master') }}", "the cluster has no member with role 'master'"),
        ("{% include 'other.j2' %}", "there is no template 'other.j2' in the role or in _shared"),
        ("{{ 'a\nb'|sh }}", "control character U+000A does not belong on a shell command line"),
        ("{{ '${net0/mac}'|ipxe }}", "'$' would be interpreted by iPXE"),
    ],
)
def test_a_fault_names_role_file_line_and_remedy(renderer: Renderer, text: str, says: str) -> None:
    error = str(refusal(renderer, text))
    assert says in error
    assert "`provisioner role validate simple`" in error


def test_the_worker_sees_nothing_of_our_environment(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", "postgresql://secret")
    fresh = Renderer()
    try:
        render(fresh, "x")
        worker = fresh._worker
        assert worker is not None
        assert b"secret" not in Path(f"/proc/{worker.process.pid}/environ").read_bytes()
    finally:
        fresh.close()


def test_several_threads_share_a_worker_and_each_gets_its_own_answer() -> None:
    shared, answers = Renderer(), {}

    def ask(number: int) -> None:
        context = CONTEXT | {"machine": {"name": f"node{number}"}}
        answers[number] = shared.render("simple", {"a": "{{ machine.name }}"}, "a", context)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        shared.close()
    assert answers == {number: f"node{number}" for number in range(8)}


def test_a_worker_that_died_is_replaced_and_a_closed_one_is_gone() -> None:
    made = Renderer()
    render(made, "x")
    first = made._worker
    assert first is not None
    first.process.kill()
    first.process.wait()
    assert render(made, "y") == "y"
    second = made._worker
    assert second is not None
    made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(second.process.pid, 0)
