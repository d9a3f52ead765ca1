"""Energy by the kernel's counters, from a folder made like the kernel's."""

import pytest

from cnnprec.machine.energy import EnergyMeter, package_energy


@pytest.fixture
def zone(tmp_path):
    """Makes a zone of a powercap folder, or changes its counter."""

    def zone(name: str, kind: str, microjoules: int, most: int = 262_143_328_850) -> None:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        texts = {"name": kind, "energy_uj": microjoules, "max_energy_range_uj": most}
        for file, text in texts.items():
            (folder / file).write_text(f"{text}\n")

    zone("intel-rapl:0", "package-0", 5_000_000)
    return zone


@pytest.fixture
def meter(zone, tmp_path) -> EnergyMeter:
    return EnergyMeter(lambda: package_energy(tmp_path))


def test_packages_are_added_and_their_parts_and_the_whole_are_not(zone, tmp_path):
    zone("intel-rapl:1", "package-1", 7_000_000)
    zone("intel-rapl:0:0", "core", 1)
    zone("intel-rapl:2", "psys", 1)
    assert package_energy(tmp_path) == {
        "package-0": (5.0, 262_143.32885),
        "package-1": (7.0, 262_143.32885),
    }
    meter = EnergyMeter(lambda: package_energy(tmp_path))
    zone("intel-rapl:0", "package-0", 6_000_000)
    zone("intel-rapl:1", "package-1", 9_500_000)
    zone("intel-rapl:0:0", "core", 900_000)
    assert meter.joules(1.0) == pytest.approx(3.5)


def test_counter_that_wraps_around_goes_on(zone, tmp_path):
    zone("intel-rapl:0", "package-0", 9_000_000, 10_000_000)
    meter = EnergyMeter(lambda: package_energy(tmp_path))
    zone("intel-rapl:0", "package-0", 2_000_000, 10_000_000)
    assert meter.joules(1.0) == pytest.approx(3.0)


def test_span_of_few_renewals_tells_nothing(meter):
    assert meter.joules(0.019) is None
    assert meter.joules(0.021) == 0


@pytest.mark.parametrize("content", [None, "", "many", "\xff"])
def test_counter_that_cannot_be_read_tells_nothing(zone, meter, tmp_path, content):
    file = tmp_path / "intel-rapl:0" / "energy_uj"
    file.unlink()
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    assert package_energy(tmp_path) == {}
    assert meter.joules(1.0) is None


def test_counter_that_is_there_at_the_end_alone_tells_nothing(zone, tmp_path):
    found = iter([{}, package_energy(tmp_path)])
    assert EnergyMeter(lambda: next(found)).joules(1.0) is None


def test_machine_without_counters_tells_nothing(tmp_path):
    assert package_energy(tmp_path / "none") == {}
    assert EnergyMeter(dict).joules(1.0) is None
