"""The sessions that were recorded on a real GPU, an NVIDIA H100 (docs/gpu.md)."""

import re
from pathlib import Path

import pytest

from cnnprec.machine.gpu_state import GPU_CYCLE
from cnnprec.numerics.known_defects import known_defects
from cnnprec.records.read_sessions import read_session
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_numbers import Check, faults
from cnnprec.verdicts.numeric_limits import defect_limit
from cnnprec.verdicts.verdict import Verdict

FOLDER = Path(__file__).parents[1] / "docs" / "evidence" / "h100"
SESSIONS = {path.stem: read_session(path).records for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_of_a_gpu_is_read_with_the_time_of_a_clock_cycle(name):
    for record in SESSIONS[name].values():
        assert record.environment.device_model == "NVIDIA H100 80GB HBM3"
        assert dict(record.turns.calibrators)[GPU_CYCLE] == pytest.approx(1e-6 / 1980)


def test_unchanged_software_on_a_gpu_does_not_fail_though_its_bits_are_others():
    found = compare([SESSIONS["0002_five"]], SESSIONS["0003_five"])
    assert found.of("numerics", "single").verdict is Verdict.INCONCLUSIVE
    assert Verdict.FAIL not in {judgement.verdict for judgement in found.judgements}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_healthy_gpu_learns_as_float64_does_within_the_limits(name):
    for record in SESSIONS[name].values():
        judged = faults(record, SESSIONS[name])
        assert (judged[Check.FIRST_STEPS], judged[Check.LEARNING]) == ([], [])
        assert judged[Check.HARDWARE] == []


def test_what_a_gpu_computes_outside_its_bounds_is_known_and_no_further_than_known():
    seen = set()
    for record in SESSIONS["numerics"].values():
        for text in faults(record, SESSIONS["numerics"])[Check.OPERATIONS]:
            probe, error = re.match(r"(\S+\]) \(\w+\): error over bound (\S+) at", text).groups()
            seen.add(probe)
            assert probe in known_defects(on_gpu=True), text
            assert float(error) <= defect_limit(probe)
    assert len(seen) == 14
