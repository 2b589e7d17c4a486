"""The README's picture is what the page's trains look like now."""

from xml.etree import ElementTree

from tests.web.pages.picture import FILE, picture


def test_the_picture_is_current() -> None:
    assert FILE.read_text() == picture(), "`make docs` draws it"


def test_it_shows_one_failed_and_one_stuck() -> None:
    texts = [element.text for element in ElementTree.fromstring(picture()).iter() if element.tag.endswith("text")]
    assert (texts.count("failed"), texts.count("stuck")) == (1, 1)
    assert {"✕ disk", "image 17 min", "image 43 %"} <= set(texts)
