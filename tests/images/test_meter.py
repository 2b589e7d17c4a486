"""Bytes a second, with a clock of the test's own."""

from provisioner.images.meter import SAMPLES, Meter


def test_a_rate_is_the_mean_of_the_last_samples_and_ends_with_them() -> None:
    meter = Meter()
    assert (meter.rates(), meter.still) == ({}, True)
    meter.count("a", 3000)
    meter.count("b", 500)
    assert not meter.still
    meter.sample(1.0)
    assert meter.rates() == {"a": 3000, "b": 500}
    meter.count("a", 1000)
    meter.sample(3.0)
    assert meter.rates() == {"a": 1000, "b": 125}
    for _ in range(SAMPLES):
        assert not meter.still
        meter.sample(1.0)
    assert (meter.rates(), meter.still) == ({}, True)
    assert meter.total == {"a": 4000, "b": 500}


def test_nothing_is_counted_backwards() -> None:
    meter = Meter()
    meter.count("a", 100)
    meter.count("a", -50)
    assert meter.total == {"a": 100}
