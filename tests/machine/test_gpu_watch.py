"""Watching a GPU, through the answers of a stand-in for ``pynvml``."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from cnnprec.machine import gpu, gpu_watch
from cnnprec.machine.energy import EnergyMeter
from cnnprec.machine.gpu import query_gpus
from cnnprec.machine.gpu_state import GpuState
from cnnprec.machine.gpu_watch import GpuWatch
from tests.support.nvml import ALTERNATIVES, FakeNvml

CALM = GpuState(
    throttled=(),
    new_ecc_errors=0,
    xid_errors=(),
    temperature_celsius=41,
    sm_clock_mhz=1980,
    power_watts=71.5,
    new_corrected_errors=0,
    repairs=(),
    remapped_rows=1,
    pcie_lanes=(16, 16),
    pcie_generation=None,
    other_processes=0,
)


def watched(nvml, during=lambda: None, index=1):
    """The state of a round in which `during` happened; NVML is closed again."""
    watch = GpuWatch(index, nvml)
    watch.start()
    during()
    state = watch.stop()
    assert (nvml.opened, nvml.event_sets) == (0, [])
    return state


def changed(**fields):
    return GpuState(**{**vars(CALM), **fields})


def test_round_without_trouble_is_told_in_the_units_of_the_names():
    nvml = FakeNvml()
    assert watched(nvml, lambda: nvml.pass_time(10)) == CALM
    assert not CALM.faulty


def test_energy_is_the_counter_of_the_gpu_between_start_and_stop():
    nvml = FakeNvml()
    watch = GpuWatch(1, nvml)
    assert watch.energy() == {}
    watch.start()
    meter = EnergyMeter(watch.energy)
    nvml.millijoules += 150_000
    assert meter.joules(3.0) == 150
    assert meter.joules(1.0) is None  # renewed ten times a second: it could be off by 10 %
    nvml.millijoules = 1_000  # a driver that is loaded anew counts from 0
    assert meter.joules(3.0) is None
    watch.stop()
    assert watch.energy() == {}


def test_energy_is_left_out_where_the_gpu_does_not_count_it():
    watch = GpuWatch(1, FakeNvml(unsupported=["nvmlDeviceGetTotalEnergyConsumption"]))
    watch.start()
    assert watch.energy() == {}
    watch.stop()


def test_clock_is_told_between_start_and_stop_alone():
    watch = GpuWatch(1, FakeNvml())
    assert watch.sm_clock_mhz() is None
    watch.start()
    assert watch.sm_clock_mhz() == 1980
    watch.stop()
    assert watch.sm_clock_mhz() is None


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("thermal", "thermal"),
        ("power", "power"),
        ("board_limit", "board limit"),
        ("reliability", "reliability"),
    ],
)
def test_policy_that_held_the_gpu_back_is_named(policy, name):
    nvml = FakeNvml()
    state = watched(nvml, lambda: nvml.pass_time(10, **{policy: 1}))
    assert state == changed(throttled=(name,))
    assert not state.faulty


@pytest.mark.parametrize("policy", ["low_utilization", "sync_boost", "total_app_clocks"])
def test_other_policies_are_not_named(policy):
    nvml = FakeNvml()
    assert watched(nvml, lambda: nvml.pass_time(10, **{policy: 10})) == CALM


@pytest.mark.parametrize(("slowed", "throttled"), [(0.1, ()), (0.100001, ("power",))])
def test_one_percent_of_the_round_is_not_yet_throttling(slowed, throttled):
    nvml = FakeNvml()
    assert watched(nvml, lambda: nvml.pass_time(10, power=slowed)).throttled == throttled


def test_slowdown_before_the_round_does_not_count():
    nvml = FakeNvml()
    nvml.pass_time(10, thermal=10)
    assert watched(nvml, lambda: nvml.pass_time(10)) == CALM


def test_driver_whose_time_stands_still_gives_no_share():
    nvml = FakeNvml()
    assert watched(nvml, lambda: nvml.pass_time(0, thermal=1)) == CALM


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("SwThermalSlowdown", "thermal"),
        ("HwThermalSlowdown", "thermal"),
        ("HwPowerBrakeSlowdown", "power brake"),
        ("HwSlowdown", "hardware slowdown"),
    ],
)
@pytest.mark.parametrize(
    "old",
    [
        {"unsupported": ["nvmlDeviceGetCurrentClocksEventReasons"]},
        {"missing": ["nvmlDeviceGetCurrentClocksEventReasons"]},
        {"missing": ["nvmlDeviceGetCurrentClocksThrottleReasons"]},
    ],
    ids=["old driver", "old binding", "new binding"],
)
def test_slowdown_at_the_end_is_named_by_old_and_new_drivers(reason, name, old):
    nvml = FakeNvml(**old)
    nvml.reasons |= getattr(pynvml, f"nvmlClocksEventReason{reason}")
    assert watched(nvml) == changed(throttled=(name,))


@pytest.mark.parametrize(
    "reason",
    ["GpuIdle", "ApplicationsClocksSetting", "SwPowerCap", "SyncBoost", "DisplayClockSetting"],
)
def test_reasons_that_are_no_slowdown_are_not_named(reason):
    nvml = FakeNvml()
    nvml.reasons = getattr(pynvml, f"nvmlClocksEventReason{reason}")
    assert watched(nvml) == CALM


def test_reason_that_two_sources_give_is_named_once():
    nvml = FakeNvml()
    nvml.reasons = (
        pynvml.nvmlClocksEventReasonHwThermalSlowdown
        | pynvml.nvmlClocksEventReasonSwThermalSlowdown
    )
    state = watched(nvml, lambda: nvml.pass_time(10, thermal=5, power=5))
    assert state.throttled == ("thermal", "power")


@pytest.mark.parametrize(
    "temperature",
    [{"missing": ["nvmlDeviceGetTemperatureV"]}, {"missing": ["nvmlDeviceGetTemperature"]}],
)
def test_temperature_is_read_by_old_and_new_bindings(temperature):
    assert watched(FakeNvml(**temperature)) == CALM


def test_new_memory_errors_are_counted_and_make_the_round_faulty():
    nvml = FakeNvml()
    state = watched(nvml, lambda: setattr(nvml, "ecc_errors", 5))
    assert state == changed(new_ecc_errors=2)
    assert state.faulty


def test_count_of_memory_errors_that_was_reset_is_not_known():
    nvml = FakeNvml()
    state = watched(nvml, lambda: setattr(nvml, "ecc_errors", 0))
    assert state == changed(new_ecc_errors=None)


def test_corrected_memory_errors_are_counted_and_are_no_fault():
    nvml = FakeNvml()
    state = watched(nvml, lambda: setattr(nvml, "corrected_errors", 47))
    assert state == changed(new_corrected_errors=7)
    assert not state.faulty


@pytest.mark.parametrize(
    ("rows", "pages", "repairs"),
    [
        ((1, 0, 1, 0), 0, ("row remapping pending",)),
        ((1, 0, 0, 1), 0, ("row remapping failed",)),
        ((1, 0, 0, 0), 1, ("page retirement pending",)),
        ((0, 1, 1, 1), 0, ("row remapping failed", "row remapping pending")),
    ],
)
def test_memory_that_needs_repair_makes_the_round_faulty(rows, pages, repairs):
    nvml = FakeNvml()
    nvml.remapped_rows, nvml.retirement_pending = rows, pages
    assert watched(nvml) == changed(repairs=repairs)
    assert watched(nvml).faulty


def test_rows_that_are_remapped_are_no_fault():
    nvml = FakeNvml()
    nvml.remapped_rows = (3, 2, 0, 0)
    assert watched(nvml) == changed(remapped_rows=5)
    assert not watched(nvml).faulty


def test_lanes_of_the_link_stand_beside_what_it_can():
    nvml = FakeNvml()
    nvml.lanes = 8
    assert watched(nvml) == changed(pcie_lanes=(8, 16))


def test_generation_of_the_link_is_the_most_that_was_seen_under_load():
    nvml = FakeNvml()
    watch = GpuWatch(1, nvml)
    watch.start()
    for generation in (1, 3, 2):
        nvml.generation = generation
        watch.sm_clock_mhz()
    nvml.generation = 4  # at the end it is not asked any more
    assert watch.stop() == changed(pcie_generation=(3, 4))
    watch.start()
    assert watch.stop() == CALM


@pytest.mark.parametrize(("pids", "others"), [([1], 0), ([1, 2, 3], 2), ([], None)])
def test_processes_beside_this_one_are_counted_under_any_number(pids, others):
    nvml = FakeNvml()
    nvml.processes = [SimpleNamespace(pid=pid) for pid in pids]
    assert watched(nvml) == changed(other_processes=others)


def test_xid_during_the_round_is_told_once_and_makes_it_faulty():
    nvml = FakeNvml()
    state = watched(nvml, lambda: [nvml.report_xid(number) for number in (79, 48, 79)])
    assert state == changed(xid_errors=(79, 48))
    assert state.faulty


def test_xid_before_the_round_does_not_count():
    nvml = FakeNvml()
    nvml.report_xid(79)
    watch = GpuWatch(1, nvml)
    watch.start()
    nvml.report_xid(48)
    assert watch.stop() == changed(xid_errors=(48,))
    nvml.report_xid(31)
    watch.start()
    assert watch.stop() == CALM


def test_event_that_is_no_xid_does_not_count():
    nvml = FakeNvml()

    def other_event():
        for events in nvml.event_sets:
            events.waiting.append(
                pynvml.c_nvmlEventData_t(eventType=pynvml.nvmlEventTypeClock, eventData=79)
            )

    assert watched(nvml, other_event) == CALM


def test_driver_with_endless_events_does_not_hold_up_the_session():
    nvml = FakeNvml()
    endless = pynvml.c_nvmlEventData_t(eventType=pynvml.nvmlEventTypeXidCriticalError, eventData=13)
    nvml.answers["nvmlEventSetWait"] = lambda events, milliseconds: endless
    assert watched(nvml) == changed(xid_errors=(13,))


WATCHING = {
    "nvmlDeviceGetViolationStatus",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetMaxPcieLinkWidth",
    "nvmlDeviceGetCurrPcieLinkGeneration",
    "nvmlDeviceGetMaxPcieLinkGeneration",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlEventSetCreate",
}


@pytest.mark.parametrize(
    ("unsupported", "fields"),
    [
        (
            ["nvmlDeviceGetTotalEccErrors"],
            {"new_ecc_errors": None, "new_corrected_errors": None},
        ),
        (["nvmlDeviceGetRemappedRows"], {"remapped_rows": None}),
        (["nvmlDeviceGetRetiredPagesPendingStatus"], {}),
        (["nvmlDeviceGetCurrPcieLinkWidth"], {"pcie_lanes": None}),
        (["nvmlDeviceGetMaxPcieLinkWidth"], {"pcie_lanes": None}),
        (["nvmlDeviceGetCurrPcieLinkGeneration"], {}),
        (["nvmlDeviceGetMaxPcieLinkGeneration"], {}),
        (["nvmlDeviceGetComputeRunningProcesses"], {"other_processes": None}),
        (["nvmlDeviceGetClockInfo"], {"sm_clock_mhz": None}),
        (["nvmlDeviceGetPowerUsage"], {"power_watts": None}),
        (
            ["nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"],
            {"temperature_celsius": None},
        ),
        (["nvmlDeviceGetViolationStatus"], {"throttled": ("thermal",)}),
        (
            [
                "nvmlDeviceGetCurrentClocksEventReasons",
                "nvmlDeviceGetCurrentClocksThrottleReasons",
            ],
            {"throttled": ("power",)},
        ),
        (["nvmlEventSetCreate"], {"xid_errors": ()}),
        (["nvmlDeviceRegisterEvents"], {"xid_errors": ()}),
        (["nvmlEventSetWait"], {"xid_errors": ()}),
    ],
)
def test_what_is_not_supported_is_left_out_and_the_rest_stays(unsupported, fields):
    nvml = FakeNvml(unsupported=unsupported)
    nvml.reasons = pynvml.nvmlClocksEventReasonSwThermalSlowdown

    def trouble():
        nvml.pass_time(10, power=10)
        nvml.report_xid(79)

    whole = {"throttled": ("power", "thermal"), "xid_errors": (79,)}
    assert watched(nvml, trouble) == changed(**{**whole, **fields})


def test_gpu_that_tells_nothing_has_no_state():
    assert watched(FakeNvml(unsupported=WATCHING)) is None


@pytest.mark.parametrize(
    "nvml",
    [
        FakeNvml(driver_loaded=False),
        FakeNvml(unsupported=["nvmlDeviceGetCount"]),
        FakeNvml(unsupported=["nvmlDeviceGetHandleByIndex"]),
    ],
    ids=["no driver", "no count", "no handle"],
)
def test_gpu_that_cannot_be_asked_has_no_state(nvml):
    assert watched(nvml) is None


def test_gpu_that_is_not_there_has_no_state():
    assert watched(FakeNvml(), index=2) is None


@pytest.mark.parametrize("function", sorted({*WATCHING, "nvmlEventSetWait"}))
def test_driver_error_between_start_and_stop_costs_only_that_answer(function):
    nvml = FakeNvml()
    state = watched(nvml, lambda: nvml.unsupported.add(function))
    assert state is not None
    # Each answer stands in one field, and two functions have a twin that answers for them; both
    # kinds of memory errors have the same.
    lost = {name for name in vars(CALM) if vars(state)[name] != vars(CALM)[name]}
    assert len(lost - {"new_corrected_errors"}) <= 1


def test_lost_gpu_leaves_nothing_open():
    nvml = FakeNvml()
    watch = GpuWatch(1, nvml)
    watch.start()
    # A GPU that fell off the bus is told by an Xid, and answers nothing any more.
    nvml.report_xid(79)
    nvml.unsupported |= WATCHING
    assert watch.stop() == GpuState((), None, (79,), None, None, None)
    assert (nvml.opened, nvml.event_sets) == (0, [])


@pytest.mark.parametrize("function", ["nvmlEventSetFree", "nvmlShutdown"])
def test_error_while_closing_is_no_error_of_the_round(function):
    watch = GpuWatch(1, FakeNvml(unsupported=[function]))
    watch.start()
    assert watch.stop() == CALM


def test_interrupt_during_start_leaves_nothing_open():
    nvml = FakeNvml()

    def interrupt(*_):
        raise KeyboardInterrupt

    nvml.answers["nvmlDeviceGetTotalEccErrors"] = interrupt
    watch = GpuWatch(1, nvml)
    with pytest.raises(KeyboardInterrupt):
        watch.start()
    assert (nvml.opened, nvml.event_sets) == (0, [])
    assert watch.stop() is None


def test_nvml_is_not_asked_before_start():
    nvml = FakeNvml()
    assert GpuWatch(1, nvml).stop() is None
    assert nvml.opened == 0


def test_second_stop_has_no_state_and_closes_nothing_twice():
    nvml = FakeNvml()
    watch = GpuWatch(1, nvml)
    watch.start()
    assert watch.stop() == CALM
    nvml.answers = {}  # Any question would now be an AttributeError.
    assert watch.stop() is None
    assert nvml.opened == 0


def test_second_start_begins_anew_and_leaves_nothing_open():
    nvml = FakeNvml()
    watch = GpuWatch(1, nvml)
    watch.start()
    nvml.report_xid(79)
    nvml.pass_time(10, thermal=10)
    watch.start()
    assert nvml.opened == len(nvml.event_sets) == 1
    assert watch.stop() == CALM
    assert (nvml.opened, nvml.event_sets) == (0, [])


def test_index_counts_as_query_gpus_does(monkeypatch):
    nvml = FakeNvml()
    assert watched(nvml, index=0).temperature_celsius == 33
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert query_gpus(nvml)[0].model == "NVIDIA L4"
    assert watched(nvml, index=0).temperature_celsius == 41
    assert watched(nvml, index=1) is None


# The names of the real binding that `gpu` and `gpu_watch` use.


def names_used() -> set[str]:
    """Names of the binding in both modules: attributes, and those in tables."""
    trees = [ast.parse(Path(module.__file__).read_text()) for module in (gpu, gpu_watch)]
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("nvml", "pynvml"):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if re.fullmatch(r"(nvml|NVML_)[A-Z]\w+", node.value) else set()
    return found


def test_real_binding_has_every_name_that_is_used():
    lacking = {name for name in names_used() if not hasattr(pynvml, name)}
    other_way = ALTERNATIVES | {old: new for new, old in ALTERNATIVES.items()}
    assert {name for name in lacking if other_way.get(name, name) in lacking} == set()


def test_check_of_names_sees_attributes_constants_and_tables():
    assert names_used() >= {
        "nvmlInit",
        "NVMLError",
        "NVML_VOLATILE_ECC",
        "NVML_PERF_POLICY_THERMAL",
        "nvmlClocksEventReasonHwSlowdown",
        *ALTERNATIVES,
        *ALTERNATIVES.values(),
    }


def test_stand_in_has_only_what_the_real_binding_has():
    # The names that may be absent from some release of the binding are not in all of them.
    assert all(hasattr(pynvml, name) for name in FakeNvml().answers if name not in ALTERNATIVES)
    with pytest.raises(AttributeError):
        FakeNvml().nvmlDeviceGetTemprature  # noqa: B018
    with pytest.raises(AttributeError, match="no answer"):
        FakeNvml().nvmlDeviceGetFanSpeed  # noqa: B018
    with pytest.raises(TypeError):
        FakeNvml().nvmlEventSetWait("events")
