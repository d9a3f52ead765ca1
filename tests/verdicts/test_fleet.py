"""Hosts judged by each other: the bad ones are named, and no other."""

import dataclasses
import math

import pytest

from cnnprec.records.record import Outcome
from cnnprec.verdicts.fleet import decide_fleet, judge_fleet
from cnnprec.verdicts.verdict import Limits, Verdict
from docs.evidence import recording
from tests.support.fleets import faulty_gpu, fleet, host, wrong_operation
from tests.support.histories import on_gpu
from tests.support.saved import saved, with_environment

LIMITS = Limits()


def failing(hosts) -> list[str]:
    found = judge_fleet(hosts, LIMITS)
    return [name for name, one in found.items() if one.verdict is Verdict.FAIL]


def reasons(hosts, name: str) -> str:
    (one,) = [c for h, c in judge_fleet(hosts, LIMITS).items() if h == name]
    return "; ".join(j.reason for j in one.judgements if j.verdict is not Verdict.PASS)


def test_a_slow_host_and_one_with_a_wrong_operation_are_named_among_twenty_and_no_other():
    hosts = fleet(20, host07=host(1.15), host13=wrong_operation())
    assert failing(hosts) == ["host07", "host13"]
    assert "time per step beside its peers: +14.6%" in reasons(hosts, "host07")
    assert "conv2d.forward" in reasons(hosts, "host13")
    decision = decide_fleet(judge_fleet(hosts, LIMITS))
    assert (decision.verdict, decision.action) == (Verdict.FAIL, "TAKE OUT")
    assert decision.reason == "host07, host13"


@pytest.mark.parametrize("seed", range(5))
def test_of_twenty_good_hosts_none_is_named(seed):
    found = judge_fleet(fleet(20, seed=seed), LIMITS)
    assert {one.verdict for one in found.values()} == {Verdict.PASS}
    assert decide_fleet(found).action == "KEEP ALL"


def test_in_thirteen_fleets_of_ten_recorded_sessions_nobody_is_named():
    sessions = recording.read().sessions
    for first in range(0, 39, 3):
        assert not failing({str(n): [saved(n, sessions[n])] for n in range(first, first + 10)})


def test_two_recorded_sessions_made_bad_are_named():
    sessions = recording.read().sessions[:20]
    hosts = {f"host{n:02}": [saved(n, records)] for n, records in enumerate(sessions)}
    sound = failing(hosts)
    runs = hosts["host03"][0].records["single"].rounds
    wrong = tuple(
        dataclasses.replace(e, run=dataclasses.replace(e.run, weights_sha256="f" * 64))
        for e in runs
    )
    records = hosts["host03"][0].records
    changed = {**records, "single": dataclasses.replace(records["single"], rounds=wrong)}
    assert failing({**hosts, "host03": [saved(3, changed)]}) == sorted({*sound, "host03"})


@pytest.mark.parametrize("twins", [1, 2, 4])
def test_hosts_with_other_weights_are_named_also_where_they_agree_with_each_other(twins):
    others = {f"host{n:02}": host(weights_sha256="f" * 64) for n in range(twins)}
    hosts = fleet(10, **others)
    assert failing(hosts) == list(others)
    assert "other weights" in reasons(hosts, "host00")


def test_a_host_that_diverges_is_named():
    hosts = fleet(6, host02=host(outcome=Outcome.DIVERGED))
    assert failing(hosts) == ["host02"]
    assert "trained -> diverged" in reasons(hosts, "host02")


def test_first_losses_beyond_the_harmless_are_named():
    hosts = fleet(6, host02=host(first_losses=(2.4,), weights_sha256="f" * 64))
    assert failing(hosts) == ["host02"]
    assert "loss of step 0 moved by 0.043" in reasons(hosts, "host02")


def test_bits_that_no_two_hosts_share_name_nobody():
    hosts = fleet(6, **{f"host{n:02}": host(weights_sha256=f"{n}" * 64) for n in range(6)})
    found = judge_fleet(hosts, LIMITS)
    assert {one.verdict for one in found.values()} == {Verdict.INCONCLUSIVE}
    assert "does not repeat bitwise" in reasons(hosts, "host02")


@pytest.mark.parametrize(
    ("state", "told"),
    [({"xid_errors": (79,)}, "Xid 79"), ({"new_ecc_errors": 2}, "6 uncorrected memory errors")],
)
def test_hardware_faults_are_named(state, told):
    good = {f"host{n:02}": faulty_gpu() for n in range(6)}
    hosts = fleet(6, **{**good, "host04": faulty_gpu(**state)})
    assert failing(hosts) == ["host04"]
    assert told in reasons(hosts, "host04")


def test_a_missing_precision_and_a_failed_test_are_named_and_the_rest_is_judged():
    hosts = fleet(8, host01=host(names=("single",)), host02=host(1.3))
    hosts["host05"] = [dataclasses.replace(hosts["host05"][0], failed=True)]
    assert failing(hosts) == ["host01", "host02", "host05"]
    assert "not measured now: half" in reasons(hosts, "host01")
    assert reasons(hosts, "host05") == "a test of its session failed"


def test_missing_runs_are_no_pass():
    whole = host()
    short = dataclasses.replace(whole["single"], rounds=whole["single"].rounds[:1])
    found = judge_fleet(fleet(6, host03={**whole, "single": short}), LIMITS)
    assert found["host03"].verdict is Verdict.INVALID
    assert found["host02"].verdict is Verdict.PASS


def test_hosts_of_other_software_or_hardware_are_judged_apart():
    other = {f"host{n:02}": with_environment(host(1.4), driver="9.9") for n in range(12, 18)}
    other["host15"] = with_environment(host(1.7), driver="9.9")
    hosts = fleet(20, **other)
    assert failing(hosts) == ["host15"]
    found = judge_fleet(hosts, LIMITS)
    assert found["host12"].basis == "5 other hosts"
    assert [str(d) for d in found["host12"].changed] == ["driver: none -> 9.9"]
    assert found["host00"].changed == ()


def test_fewer_than_five_alike_are_not_judged_by_their_times():
    hosts = fleet(8, host03=with_environment(host(2.0), cpu_model="Other"))
    found = judge_fleet(hosts, LIMITS)
    assert found["host03"].verdict is Verdict.INCONCLUSIVE
    assert "5 hosts needed that are alike and have all times, 1 found" in reasons(hosts, "host03")


def test_a_host_that_did_other_work_is_refused():
    changed = {
        name: dataclasses.replace(r, config=dataclasses.replace(r.config, epochs=9))
        for name, r in host().items()
    }
    found = judge_fleet(fleet(6, host03=changed), LIMITS)
    assert found["host03"].verdict is Verdict.INCOMPARABLE
    assert [j.reason for j in found["host03"].judgements] == ["epochs: 2 -> 9"]
    assert found["host02"].verdict is Verdict.PASS


def test_several_sessions_of_a_host_are_one_time_and_all_are_judged():
    hosts = fleet(20, noise=0.01)
    hosts["host04"] = [saved(n, host(math.exp(0.14 + 0.02 * (n - 1)))) for n in range(3)]
    hosts["host09"] = [saved(0, host()), saved(1, wrong_operation())]
    assert failing(hosts) == ["host04", "host09"]
    one = judge_fleet(hosts, LIMITS)["host04"]
    assert one.of("speed", "single").estimate.ratio == pytest.approx(math.exp(0.14), rel=0.02)


def test_sessions_of_one_host_that_are_not_alike_are_refused():
    hosts = fleet(6)
    hosts["host02"].append(saved(9, with_environment(host(), kernel="9.9")))
    with pytest.raises(
        ValueError, match=r"host02: its sessions differ in kernel: 6\.1 -> 9\.9; give"
    ):
        judge_fleet(hosts, LIMITS)


def test_one_host_alone_is_not_judged():
    found = judge_fleet(fleet(1), LIMITS)
    assert found["host00"].verdict is Verdict.INCONCLUSIVE


def test_a_gpu_fleet_needs_no_memory_verdict():
    hosts = fleet(6, **{f"host{n:02}": on_gpu(host()) for n in range(6)})
    assert {one.verdict for one in judge_fleet(hosts, LIMITS).values()} == {Verdict.PASS}


def test_hosts_that_chose_for_themselves_whether_to_use_xla_are_refused():
    hosts = fleet(2)
    first = hosts["host01"][0].records
    best = {
        n: dataclasses.replace(r, config=r.config.override(jit="best")) for n, r in first.items()
    }
    hosts["host01"] = [saved(1, best)]
    with pytest.raises(ValueError, match=r"host01: --jit best chose for this host alone; use"):
        judge_fleet(hosts, LIMITS)
