"""A rack that is switched on at once, through the whole chain; `make bench-storm` does it with 500 machines."""

import pytest

from tests.bench.storm import MOST_TRIES, storm

pytestmark = pytest.mark.system


@pytest.mark.rule("fault-21")
@pytest.mark.timeout(300)
def test_fifty_machines_at_once_all_install_and_none_asks_four_times() -> None:
    report = storm(machines=50, image_mib=4)
    assert report.failed == []
    assert report.installed == 50
    assert report.tries <= MOST_TRIES
