"""Hypothesis strategies that several test files share."""

from hypothesis import strategies as st

from cnnprec.machine.gpu_state import GpuState
from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.limits import DeviceLimits, StepLimits, StepPart, StepTimes
from cnnprec.records.numerics import Histogram, Kind, Numerics, ProbeGroup, TensorErrors
from cnnprec.records.record import (
    SCHEMA_VERSION,
    DataInfo,
    Environment,
    Outcome,
    Record,
    Round,
    TrainingRun,
    Turns,
)
from cnnprec.workload.profiles import FEWEST_TURNS, JIT_CHOICES, STRATEGIES, TrainingConfig

ANY_FLOAT = st.floats(width=32)
SECONDS = st.none() | st.floats(1e-6, 1e6)
COUNT = st.integers(1, 10**6)


@st.composite
def configs(draw) -> TrainingConfig:
    batch_size = draw(st.integers(1, 1000))
    train_samples = draw(st.integers(batch_size, 10**6))
    most_epochs = (2**31 - 1) // (train_samples // batch_size)  # as many steps as are allowed
    jit = draw(st.sampled_from(JIT_CHOICES))
    return TrainingConfig(
        profile=draw(st.text(max_size=10)),
        train_samples=train_samples,
        test_samples=draw(COUNT),
        epochs=draw(st.integers(1, min(most_epochs, 10**6))),
        runs=draw(COUNT),
        batch_size=batch_size,
        jit=jit,
        seed=draw(st.integers(0, 2**31 - 1)),
        turns=draw(st.just(0) | st.integers(FEWEST_TURNS, 1000)),
        strategy=draw(st.sampled_from(STRATEGIES[:2] if jit == "best" else STRATEGIES)),
    )


RUNS = st.builds(
    TrainingRun,
    seed=st.integers(0, 2**31 - 1),
    outcome=st.sampled_from(Outcome),
    losses=st.lists(ANY_FLOAT, min_size=1, max_size=5).map(tuple),
    first_losses=st.lists(ANY_FLOAT, max_size=16).map(tuple),
    test_accuracy=st.floats(0, 1),
    first_bad_step=st.none() | st.integers(0, 10**6),
    loss_scales=st.lists(st.tuples(st.integers(0, 10**6), ANY_FLOAT), max_size=4).map(tuple),
    weights_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
)

STATES = st.builds(
    GpuState,
    throttled=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    new_ecc_errors=st.none() | st.integers(0, 2**63 - 1),
    xid_errors=st.lists(st.integers(0, 200), max_size=3).map(tuple),
    temperature_celsius=st.none() | st.integers(0, 200),
    sm_clock_mhz=st.none() | st.integers(0, 5000),
    power_watts=st.none() | st.floats(0, 2000),
    new_corrected_errors=st.none() | st.integers(0, 2**63 - 1),
    repairs=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    remapped_rows=st.none() | st.integers(0, 512),
    pcie_lanes=st.none() | st.tuples(st.integers(1, 32), st.integers(1, 32)),
    pcie_generation=st.none() | st.tuples(st.integers(1, 7), st.integers(1, 7)),
    other_processes=st.none() | st.integers(0, 100),
)

ENVIRONMENTS = st.builds(
    Environment,
    device_count=COUNT,
    device_memory_bytes=st.none() | COUNT,
    usable_cores=COUNT,
    intra_op_threads=st.integers(0, 1000),
    inter_op_threads=st.integers(0, 1000),
    power_limit_watts=st.none() | st.floats(0, 2000),
    code=st.text("0123456789abcdef", min_size=12, max_size=12) | st.just("unknown"),
    commit=st.none() | st.text("0123456789abcdef", min_size=12, max_size=12),
)

ROUNDS = st.builds(
    Round,
    run=RUNS,
    seconds=SECONDS,
    cpu_seconds=SECONDS,
    peak_memory_bytes=st.none() | COUNT,
    state=st.none() | STATES,
    joules=st.none() | st.floats(0, 1e15),
)

TURNS = st.builds(
    Turns,
    steps=COUNT,
    seconds=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5).map(tuple),
    calibrators=st.lists(st.tuples(st.text(max_size=5), st.floats(1e-6, 1e6)), max_size=3).map(
        tuple
    ),
    warm_up=st.integers(0, 12),
    steady=st.booleans(),
    state=st.none() | STATES,
)

NUMERICS = st.builds(
    Numerics,
    level=st.sampled_from(["quick", "full"]),
    probes=st.lists(
        st.builds(ProbeGroup, st.text(max_size=9), ANY_FLOAT, ANY_FLOAT, st.just("0f")), max_size=2
    ).map(tuple),
    wrong=st.lists(st.text(max_size=9), max_size=2).map(tuple),
    unsteady=st.just(()),
    losses=st.lists(ANY_FLOAT, max_size=3).map(tuple),
    tensors=st.lists(
        st.builds(TensorErrors, st.text(max_size=9), *[ANY_FLOAT] * 4), max_size=2
    ).map(tuple),
    miscounted=st.integers(-100, 100),
    binades=st.lists(
        st.builds(
            Histogram,
            st.sampled_from(Kind),
            *[COUNT] * 3,
            st.integers(-2000, 2000),
            st.lists(COUNT, max_size=4).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)

RATE, STAGE, AMOUNT = st.floats(1, 1e24), st.floats(1e-12, 1e9), st.integers(0, 2**63 - 1)
LIMITS = st.builds(
    StepLimits,
    device=st.builds(DeviceLimits, *[RATE] * 4, STAGE),
    parts=st.lists(
        st.builds(StepPart, st.text(max_size=9), st.just("gradient"), AMOUNT, AMOUNT), max_size=2
    ).map(tuple),
    launches=AMOUNT,
    times=st.builds(StepTimes, *[STAGE] * 4),
)

RECORDS = st.builds(
    Record,
    precision=st.sampled_from(list(PRECISIONS.values())),
    config=configs(),
    data=st.builds(DataInfo),
    environment=ENVIRONMENTS,
    companions=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    jit_compiled=st.booleans(),
    warm_up_seconds=SECONDS,
    rounds=st.lists(ROUNDS, max_size=3).map(tuple),
    turns=st.none() | TURNS,
    numerics=st.none() | NUMERICS,
    limits=st.none() | LIMITS,
    schema_version=st.just(SCHEMA_VERSION),
)
