"""The conformance page tells the truth."""

from .conformance import NOT_FOLLOWED, PAGE, RULES, marked, page


def test_every_rule_has_a_test_or_a_reason() -> None:
    proven = {rule for rule in marked() if rule.startswith("dhcp-")}
    assert set(RULES) == {f"dhcp-{number:02}" for number in range(1, 42)}
    assert proven | set(NOT_FOLLOWED) == set(RULES)
    assert not proven & set(NOT_FOLLOWED), "a rule that is proven needs no excuse"


def test_the_page_is_what_the_marks_say() -> None:
    assert PAGE.read_text() == page(), "python -m tests.dhcp.conformance > docs/dhcp.md"
