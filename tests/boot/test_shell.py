"""Scripts of one shape: what bash says of one it says of all, and only bash is ever believed."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.boot.shell import faults, shape
from tests.boot.rack import compiler, inventory, machine


def bash_takes(script: str) -> bool:
    return subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, check=False).returncode == 0


def test_two_machines_scripts_have_one_shape() -> None:
    compiled = compiler()
    nodes = machine(7, "worker", cluster="c1"), machine(18, "worker", cluster="c2")
    try:
        scripts = [compiled.compile(node, inventory(*nodes)).files["install.sh"].decode() for node in nodes]
    finally:
        compiled.close()
    assert scripts[0] != scripts[1]
    assert shape(scripts[0]) == shape(scripts[1])


@pytest.mark.parametrize(
    "pair",
    [
        ("a2=(x)", "2=(x)"),
        ("a2[0]=(x)", "2[0]=(x)"),
        ("a2+=(x)", "2+=(x)"),
        ("f2() { :; }", "/2() { :; }"),
        ("[[ 1 -eq 2 ]]", "[[ 1 -2 2 ]]"),
        ("cat <<E1\nx\nE1", "cat <<E2\nx\nE1"),
        ("echo ${a2}", "echo ${2/}"),
        ("a1-b=(x)", "a1=(x)"),
    ],
)
def test_words_that_more_than_spelling_depends_on_are_left_alone(pair: tuple[str, str]) -> None:
    one, other = pair
    assert shape(one) is None or shape(one) != shape(other)


CONTEXTS = (
    "X=@\n",
    "X='@'\n",
    'echo "@ $(echo @)"\n',
    "if [[ @ == @ ]]; then @ @; fi\n",
    "case @ in @) @;; @|@) :;; esac\n",
    "for x in @ @; do echo @; done\n",
    "echo @>@ @<@ 2>&@ &>@\n",
    "cat <<EOF\n@\nEOF\n",
    "cat <<'EOF'\n@ $(\nEOF\n",
    "a=(@ @ [@]=@)\n",
    "echo 'x\n@\n' @\n",
    "(( @ + @ )) && echo $@ $(( @ ))\n",
    "while read -r @ @; do @; done < @\n",
    "coproc @ { @; }\n@ () { :; }\n",
    "function @ { :; }\nselect @ in @; do :; done\n",
    "[[ @ =~ @ ]] || time @ ! @\n",
    "if @; then\n@\nelse\n",
    "echo @ )\n",
)
words = st.from_regex(r"[a-z.:/@%,]{0,3}[0-9][a-z0-9.:/@%,]{0,4}", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CONTEXTS), words, words)
def test_scripts_of_one_shape_are_all_sound_or_all_faulty(context: str, one: str, other: str) -> None:
    left, right = context.replace("@", one), context.replace("@", other)
    if shape(left) is not None and shape(left) == shape(right):
        assert bash_takes(left) == bash_takes(right)
    assert bool(faults(left, "x.sh")) != bash_takes(left)


def test_every_fault_has_the_line_of_its_own_script() -> None:
    sound = "echo node1\nif true; then\n  echo 10.0.0.1\nfi\n"
    assert faults(sound, "install.sh") == []
    assert faults(sound.replace("node1", "node2"), "install.sh") == []
    (problem, *_) = faults(sound.replace("fi\n", ""), "install.sh")
    assert (problem.file, problem.line) == ("install.sh", 4)
