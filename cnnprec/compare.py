"""What records say against a baseline: every decision of the suite is made here.

The unit of evidence is a session, a process of its own. Its rounds share one memory layout
and one minute of the machine, so they are reduced to one figure before anything is compared
(docs/comparing.md). All functions are pure.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from cnnprec.fingerprint import Difference, Part, differences, stack
from cnnprec.inference import (
    LEVEL,
    Equivalence,
    Estimate,
    Location,
    equivalence,
    holm,
    location,
    paired,
    predict,
    standard_error,
)
from cnnprec.record import Outcome, Record, TrainingRun

Records = Mapping[str, Record]
"""What one session measured, by the name of the precision."""

ENOUGH = 5
"""Baseline sessions that a verdict on a size needs."""

ENOUGH_SEEDS = 10
"""Paired seeds that a claim on accuracy needs where the weights are not bitwise the same."""

DEFAULT_TOLERANCE = 0.03
"""A slowdown up to this is no failure, however surely it is there."""

DEFAULT_MARGIN = 0.10
"""A slowdown of this or more has to be excluded for a PASS."""

ACCURACY_MARGIN = 0.01
"""Loss of accuracy, as a fraction of the test images, that has to be excluded for a PASS."""


class Verdict(str, enum.Enum):
    """What a comparison came to."""

    PASS = "PASS"  # noqa: S105 - no password
    """A change as large as the margin is excluded."""
    FAIL = "FAIL"
    """A change for the worse is there."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """The noise, or too few sessions, allow neither."""
    NO_BASELINE = "NO_BASELINE"
    """There is nothing to compare with."""
    INCOMPARABLE = "INCOMPARABLE"
    """The baseline is another machine's or another workload's."""
    INVALID = "INVALID"
    """What was measured cannot be judged: a run or a time is missing."""

    def __str__(self) -> str:
        return self.value


# What a comparison of several parts comes to is the first of these that one part has.
_WORST_FIRST = (
    Verdict.FAIL,
    Verdict.INVALID,
    Verdict.INCOMPARABLE,
    Verdict.NO_BASELINE,
    Verdict.INCONCLUSIVE,
    Verdict.PASS,
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much slower is too slow.

    Attributes:
        tolerance: Relative slowdown up to which no failure is called.
        margin: Relative slowdown that must be excluded for a PASS.

    Raises:
        ValueError: Not ``0 <= tolerance < margin``.
    """

    tolerance: float = DEFAULT_TOLERANCE
    margin: float = DEFAULT_MARGIN

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < self.margin < float("inf"):
            raise ValueError(
                f"tolerance {self.tolerance:.3g} and margin {self.margin:.3g}: the tolerance must "
                "be at least 0 and smaller than the margin, such as 0.03 and 0.10"
            )


def parse_share(text: str) -> float:
    """Reads a share such as ``3%`` or ``0.03``.

    Raises:
        ValueError: It is neither, or not at least 0 and below 10 (1000 %).
    """
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if rest or not 0 <= value < 10:
        raise ValueError(
            f"{text!r} is not a share: give a percentage such as 3% or a fraction such as 0.03"
        )
    return value


@dataclasses.dataclass(frozen=True)
class Size:
    """A number that every round has and that may grow only so much.

    Attributes:
        name: For people.
        field: The field of `cnnprec.record.Round`.
        share: Its share of the error that one comparison may make. The shares of all that
            is tested add up to 1, whatever the device.
        limits: In place of the limits for times.
    """

    name: str
    field: str
    share: float
    limits: Limits | None = None


# On a CPU the CPU time of the process is the steadier clock: recorded sessions show it
# (docs/evidence). It does not see a process that waits, so the wall time is tested too. Other
# work on the machine looks the same, unless both sides ran next to each other: only then is
# a slowdown of the wall time alone a failure. An accelerator's work does not show in CPU time.
_CPU_TIME = Size("CPU time", "cpu_seconds", share=0.7)
_WALL_ON_CPU = Size("wall time", "seconds", share=0.1)
_WALL_TIME = Size("wall time", "seconds", share=0.8)
# A session's peak depends on the order of its benchmarks, by about 5 % from session to session.
_MEMORY = Size("peak memory", "peak_memory_bytes", share=0.1, limits=Limits(0.10, 0.25))
_ACCURACY_SHARE = 0.1

# The median and the minimum of rounds that have two speeds jump from one to the other, which
# raises false alarms; a mean moves in small steps (docs/comparing.md). In the recorded sessions
# (docs/evidence) it varies as little as the median. What a disturbed round does to it shows
# in its standard error, which `inference.predict` takes into account.
_LOCATION = Location.GEOMETRIC_MEAN


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One verdict and why.

    Attributes:
        metric: One of `METRICS`, or ``"completeness"``.
        precision: Name of the precision; empty for the session as a whole.
        verdict: The verdict.
        reason: One sentence, with the figures and, where there is one, the remedy.
        estimate: The statistics behind it; None where there are none.
        clock: What the estimate is about, such as ``"CPU time"``; empty without one.
    """

    metric: str
    precision: str
    verdict: Verdict
    reason: str
    estimate: Estimate | None = None
    clock: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All verdicts of one comparison.

    Attributes:
        judgements: By precision, in the order of `METRICS`; completeness comes last.
        changed: How the stack differs between the baseline and now.
        basis: What was compared with, for people, such as ``"7 sessions"``.
    """

    judgements: tuple[Judgement, ...]
    changed: tuple[Difference, ...]
    basis: str

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        found = {judgement.verdict for judgement in self.judgements}
        return next((v for v in _WORST_FIRST if v in found), Verdict.NO_BASELINE)

    def of(self, metric: str, precision: str) -> Judgement:
        """The judgement on this metric of this precision.

        A precision that was not measured has none of its own; the answer is then INVALID.
        """
        for judgement in self.judgements:
            if (judgement.metric, judgement.precision) == (metric, precision):
                return judgement
        return Judgement(
            metric,
            precision,
            Verdict.INVALID,
            f"{precision or 'the session'} was not measured, so its {metric} cannot be judged",
        )


METRICS = ("speed", "memory", "outcome", "accuracy", "numerics")
"""What is judged of every precision."""


def compare(
    baseline: Sequence[Records],
    current: Records,
    *,
    asked: Collection[str] | None = None,
    limits: Limits | None = None,
    changed: Iterable[Difference] = (),
) -> Comparison:
    """Judges a session by sessions saved before.

    Args:
        baseline: Comparable sessions; `cnnprec.baseline.select` picks them.
        current: The session to judge.
        asked: Precisions that the user asked for by name. Others may be missing from
            `current`. None if none was named: then everything in the baseline is due.
        limits: How much slower is too slow.
        changed: How the stack differs, for the report.
    """
    histories = {
        name: tuple(session[name] for session in baseline if name in session) for name in current
    }
    judged = [
        _Case(name, histories[name], (record,))
        for name, record in current.items()
        if histories[name]
    ]
    judgements = _judge(judged, limits or Limits(), LEVEL)
    for name in current:
        if not histories[name]:
            judgements += [
                Judgement(
                    metric,
                    name,
                    Verdict.NO_BASELINE,
                    f"{name} is in no comparable baseline session; save "
                    f"{ENOUGH} sessions that measure it with --benchmark-save",
                )
                for metric in METRICS
            ]
    due = {name for session in baseline for name in session}
    if asked is not None:
        due &= set(asked)
    judgements.append(_completeness(due, set(current)))
    count = len(baseline)
    return Comparison(
        tuple(judgements), tuple(changed), f"{count} saved session{'s' if count != 1 else ''}"
    )


def compare_pairs(
    pairs: Sequence[tuple[Records, Records]],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    margin: float = DEFAULT_MARGIN,
    looks: int = 1,
) -> Comparison:
    """Judges B by A from pairs of sessions that ran next to each other.

    Args:
        pairs: ``(A, B)``, in the order in which they ran; at least two.
        tolerance: See `Limits`.
        margin: See `Limits`.
        looks: How often the pairs are looked at, this time included, before no more are
            added. The error of 5 % is split between the looks.

    Raises:
        ValueError: Fewer than two pairs, or sessions that measured different precisions.
    """
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} pair of sessions: at least 2 are needed to see any noise")
    names = list(pairs[0][0])
    for a, b in pairs:
        if set(a) != set(names) or set(b) != set(names):
            raise ValueError(
                f"sessions of different precisions cannot be paired: {', '.join(sorted(names))} "
                f"against {', '.join(sorted(set(a) ^ set(b) or set(a)))}"
            )
    cases = [
        _Case(name, tuple(a[name] for a, _ in pairs), tuple(b[name] for _, b in pairs))
        for name in names
    ]
    changed = {
        difference: None
        for a, b in pairs
        for name in names
        for difference in differences(a[name], b[name])
        if difference.part is Part.STACK
    }
    return Comparison(
        tuple(_judge(cases, Limits(tolerance, margin), LEVEL / looks)),
        tuple(changed),
        f"{len(pairs)} pairs of sessions",
    )


def accuracy_against(reference: Record, record: Record) -> Equivalence | None:
    """How the accuracy differs from another precision's, seed by seed.

    Two one-sided tests: equivalent means that a difference of `ACCURACY_MARGIN` is excluded
    in both directions.

    Returns:
        None if fewer than `ENOUGH_SEEDS` seeds trained in both: too few for a claim.
    """
    theirs = _by_seed(reference)
    changes = [
        run.test_accuracy - theirs[seed].test_accuracy
        for seed, run in _by_seed(record).items()
        if seed in theirs and run.outcome is theirs[seed].outcome is Outcome.TRAINED
    ]
    return equivalence(changes, ACCURACY_MARGIN) if len(changes) >= ENOUGH_SEEDS else None


def fewest_pairs(looks: int) -> int:
    """The fewest pairs with which the sign-flip test can reject at all, given the looks."""
    pairs = 2
    while 2.0**-pairs > LEVEL / looks:
        pairs += 1
    return pairs


def figure(record: Record, field: str) -> float | None:
    """The session's one figure for a field of its rounds; None if a round lacks it."""
    values = _values(record, field)
    return location(values, _LOCATION) if values else None


def _values(record: Record, field: str) -> list[float] | None:
    """A field of all rounds; None if one lacks it or there is none."""
    values = [getattr(entry, field) for entry in record.rounds]
    return None if not values or None in values else values


def sizes(record: Record) -> tuple[Size, ...]:
    """What is compared by its size; the first decides on the speed."""
    if record.environment.device_kind == "cpu":
        return (_CPU_TIME, _WALL_ON_CPU, _MEMORY)
    return (_WALL_TIME, _MEMORY)


@dataclasses.dataclass(frozen=True)
class _Case:
    """One precision: the sessions before, and the session now or the sessions paired."""

    name: str
    old: tuple[Record, ...]
    new: tuple[Record, ...]

    @property
    def paired(self) -> bool:
        return len(self.new) > 1

    def figures(self, size: Size) -> tuple[list[float], list[float]] | None:
        old = [value for r in self.old if (value := figure(r, size.field)) is not None]
        new = [value for r in self.new if (value := figure(r, size.field)) is not None]
        whole = len(new) == len(self.new) and (len(old) == len(self.old) if self.paired else old)
        return (old, new) if whole else None

    def estimate(self, size: Size, tolerance: float, level: float) -> Estimate:
        figures, rounds = self.figures(size), _values(self.new[0], size.field)
        if figures is None or rounds is None:
            raise ValueError(f"{self.name}: a round has no {size.name}")
        old, new = figures
        if self.paired:
            return paired(old, new, tolerance=tolerance, level=level)
        error = standard_error(rounds)
        return predict(old, new[0], tolerance=tolerance, level=level, new_error=error)


@dataclasses.dataclass(frozen=True)
class _Tested:
    """A size of a precision, tested: its estimate and whether it is rejected."""

    size: Size
    limits: Limits
    estimate: Estimate
    rejected: bool


def _judge(cases: Sequence[_Case], limits: Limits, level: float) -> list[Judgement]:
    tested = _test_sizes(cases, limits, level)
    accuracy_level = level * _ACCURACY_SHARE / max(len(cases), 1)
    judgements = []
    for case in cases:
        found = tested.get(case.name, {})
        judgements += [
            _speed(case, found),
            _size("memory", case, _MEMORY, found),
            _outcome(case),
            _accuracy(case, accuracy_level),
            _numerics(case),
        ]
    return judgements


def _test_sizes(
    cases: Sequence[_Case], limits: Limits, level: float
) -> dict[str, dict[Size, _Tested]]:
    """Tests every size of every precision; a size is one family with its share of the error."""
    tested: dict[str, dict[Size, _Tested]] = {}
    for size in {s: None for case in cases for s in sizes(case.new[0])}:
        allowed = size.limits or limits
        share = level * size.share
        family = [
            case
            for case in cases
            if size in sizes(case.new[0])
            and (figures := case.figures(size)) is not None
            and len(figures[0]) >= (2 if case.paired else ENOUGH)
        ]
        estimates = []
        for case in family:
            shown = case.estimate(size, allowed.tolerance, level)
            # Holm's first step: what is found if this precision alone is slower.
            strict = case.estimate(size, allowed.tolerance, share / len(family))
            estimates.append(dataclasses.replace(shown, detectable=strict.detectable))
        adjusted = holm([estimate.p_value for estimate in estimates])
        for case, estimate, p_value in zip(family, estimates, adjusted, strict=True):
            # The permutation test knows nothing of normal distributions: it has to agree.
            agreed = estimate.check is None or estimate.check <= level
            tested.setdefault(case.name, {})[size] = _Tested(
                size, allowed, estimate, rejected=p_value <= share and agreed
            )
    return tested


def _speed(case: _Case, tested: Mapping[Size, _Tested]) -> Judgement:
    clock, *others = [size for size in sizes(case.new[0]) if size is not _MEMORY]
    problem = _missing_rounds(case)
    if problem:
        return _judgement("speed", case, Verdict.INVALID, problem)
    throttled = sorted(
        {
            reason
            for record in case.new
            for entry in record.rounds
            if entry.state
            for reason in entry.state.throttled
        }
    )
    judgement = _size("speed", case, clock, tested)
    if throttled:
        return dataclasses.replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            estimate=None,
            clock="",
            reason=f"the GPU was slowed down during the measurement ({', '.join(throttled)}); "
            "mend its cooling or power supply and measure again",
        )
    for other in others:
        if judgement.verdict is not Verdict.FAIL and other in tested and tested[other].rejected:
            grown = _size("speed", case, other, tested)
            if case.paired:
                return grown  # a busy machine slows both sides of a pair
            return dataclasses.replace(
                grown,
                verdict=Verdict.INCONCLUSIVE,
                reason=f"{other.name} grew and {clock.name} did not: the machine was busy with "
                "other work, or the process waits for something. Measure on an idle machine, or "
                f"by turns with cnnprec ab ({describe(tested[other].estimate)})",
            )
    return judgement


def _size(metric: str, case: _Case, size: Size, tested: Mapping[Size, _Tested]) -> Judgement:
    found = tested.get(size)
    if found is None:
        return _untested(metric, case, size)
    estimate, limits = found.estimate, found.limits
    if found.rejected:
        verdict = Verdict.FAIL
        reason = f"{size.name} grew by more than {limits.tolerance:.0%}"
    elif estimate.high < 1 + limits.margin:
        verdict = Verdict.PASS
        reason = f"{size.name}: growth of {limits.margin:.0%} or more is excluded"
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = f"{size.name}: growth of {limits.margin:.0%} cannot be excluded"
    return Judgement(
        metric, case.name, verdict, f"{reason} ({describe(estimate)})", estimate, size.name
    )


def describe(estimate: Estimate) -> str:
    """The figures of an estimate in words."""
    return (
        f"ratio {estimate.ratio:.3f}, {estimate.low:.3f} to {estimate.high:.3f}; "
        f"+{estimate.detectable:.0%} would be found in 4 of 5 cases"
    )


def _untested(metric: str, case: _Case, size: Size) -> Judgement:
    figures = case.figures(size)
    if figures is None:
        if metric == "memory":
            # Not every system tells its memory; then no session of it ever did.
            verdict, reason = Verdict.INCONCLUSIVE, "the peak memory is not known on this system"
        else:
            verdict, reason = Verdict.INVALID, f"{size.name} was not taken: timing was disabled"
        return _judgement(metric, case, verdict, reason)
    old, new = figures
    ratio = new[0] / statistics.geometric_mean(old)
    missing = ENOUGH - len(old)
    return _judgement(
        metric,
        case,
        Verdict.INCONCLUSIVE,
        f"{size.name} ratio {ratio:.3f}; {ENOUGH} sessions needed, {len(old)} found; run "
        f"pytest benchmarks/ --benchmark-save=NAME {missing} more time{'s' if missing > 1 else ''}",
    )


def _missing_rounds(case: _Case) -> str | None:
    for record in case.new:
        if len(record.rounds) < record.config.runs:
            return (
                f"only {len(record.rounds)} of {record.config.runs} runs were finished; "
                "run the session again"
            )
    return None


def _outcome(case: _Case) -> Judgement:
    faulty = [
        entry.state
        for record in case.new
        for entry in record.rounds
        if entry.state and entry.state.faulty
    ]
    if faulty:
        xids = sorted({number for state in faulty for number in state.xid_errors})
        memory = sum(state.new_ecc_errors or 0 for state in faulty)
        return _judgement(
            "outcome",
            case,
            Verdict.FAIL,
            f"the GPU reported errors during the measurement: {memory} uncorrected memory errors, "
            f"Xid {', '.join(map(str, xids)) or 'none'}; its results cannot be trusted",
        )
    before = {seed: {run.outcome for run in runs} for seed, runs in _all_by_seed(case.old).items()}
    now = [(seed, run.outcome) for record in case.new for seed, run in _by_seed(record).items()]
    changes = {
        f"seed {seed}: {_either(before[seed])} -> {outcome}": None
        for seed, outcome in now
        if seed in before and outcome not in before[seed]
    }
    if changes:
        return _judgement("outcome", case, Verdict.FAIL, "; ".join(changes))
    return _judgement("outcome", case, Verdict.PASS, f"{_either({o for _, o in now})}, as before")


def _accuracy(case: _Case, level: float) -> Judgement:
    """Judges the accuracy, seed by seed: one seed gives the same images in the same order."""
    before = _all_by_seed(case.old)
    pairs = [(before[seed], run) for seed, run in _by_seed(case.new[0]).items() if seed in before]
    if not pairs:
        return _judgement("accuracy", case, Verdict.INVALID, "no seed was run before and now")
    if all(run.weights_sha256 in {r.weights_sha256 for r in old} for old, run in pairs):
        return _judgement(
            "accuracy", case, Verdict.PASS, "bitwise the same weights as before, so the same"
        )
    changes = [
        run.test_accuracy - statistics.fmean(r.test_accuracy for r in old)
        for old, run in pairs
        if run.outcome is Outcome.TRAINED and any(r.outcome is Outcome.TRAINED for r in old)
    ]
    if not changes:
        return _judgement(
            "accuracy", case, Verdict.PASS, "no run trained, before or now; see outcome"
        )
    if len(changes) < 2:
        return _judgement(
            "accuracy",
            case,
            Verdict.INCONCLUSIVE,
            f"other weights than before and one seed only; run --runs {ENOUGH_SEEDS}",
        )
    shown = equivalence(changes, ACCURACY_MARGIN)
    text = (
        f"accuracy changed by {shown.mean * 100:+.2f} percentage points "
        f"({shown.low * 100:+.2f} to {shown.high * 100:+.2f}; {len(changes)} paired seeds)"
    )
    if equivalence(changes, ACCURACY_MARGIN, level=level).high < -ACCURACY_MARGIN:
        return _judgement("accuracy", case, Verdict.FAIL, text)
    if len(changes) < ENOUGH_SEEDS:
        return _judgement(
            "accuracy",
            case,
            Verdict.INCONCLUSIVE,
            f"{text}; a claim needs {ENOUGH_SEEDS} seeds: use --runs {ENOUGH_SEEDS} before and now",
        )
    if shown.low > -ACCURACY_MARGIN:
        return _judgement("accuracy", case, Verdict.PASS, text)
    return _judgement(
        "accuracy",
        case,
        Verdict.INCONCLUSIVE,
        f"{text}; a loss of {ACCURACY_MARGIN * 100:g} point cannot be excluded",
    )


def _numerics(case: _Case) -> Judgement:
    """Judges the bits: a changed stack may change them, nothing else may."""
    new = case.new[0]
    stacks: dict[object, list[Record]] = {}
    for record in case.old:
        stacks.setdefault(tuple(stack(record).values()), []).append(record)
    same_stack = stacks.get(tuple(stack(new).values()))
    hashes = _hashes(same_stack or case.old)
    now = _by_seed(new)
    known = [seed for seed in now if seed in hashes]
    if not known:
        return _judgement("numerics", case, Verdict.INVALID, "no seed was run before and now")
    other = [seed for seed in known if now[seed].weights_sha256 not in hashes[seed]]
    hashes_now = _hashes(case.new)
    unsteady = [seed for seed in known if len(hashes_now[seed]) > 1]
    if not other and not unsteady:
        return _judgement(
            "numerics", case, Verdict.PASS, f"weights bitwise as before ({len(known)} seeds)"
        )
    # Each stack has bits of its own, so only sessions of one stack can fail to repeat.
    if any(len(found) > 1 for group in stacks.values() for found in _hashes(group).values()):
        return _judgement(
            "numerics",
            case,
            Verdict.PASS,
            "the baseline itself does not repeat bitwise, so other bits mean nothing",
        )
    if unsteady or same_stack:
        return _judgement(
            "numerics",
            case,
            Verdict.FAIL,
            f"other weights than before (seed {', '.join(map(str, other or unsteady))}) though "
            "nothing in the stack changed: results no longer repeat",
        )
    return _judgement(
        "numerics",
        case,
        Verdict.PASS,
        f"notice: other bits than before ({len(other)} of {len(known)} seeds; the first losses "
        f"differ by at most {_largest_loss_difference(case, other):.1e}), and so is the stack",
    )


def _largest_loss_difference(case: _Case, seeds: Iterable[int]) -> float:
    """Largest relative difference of a seed's first losses; infinite if one is not finite."""
    before = _by_seed(case.old[-1])
    now = _by_seed(case.new[0])
    largest = 0.0
    for seed in seeds:
        if seed not in before:
            continue
        for a, b in zip(before[seed].first_losses, now[seed].first_losses, strict=False):
            if repr(a) == repr(b):  # also two NaN
                continue
            change = abs(b - a) / abs(a) if a else math.inf
            largest = max(largest, change if math.isfinite(change) else math.inf)
    return largest


def _completeness(due: set[str], measured: set[str]) -> Judgement:
    missing, new = sorted(due - measured), sorted(measured - due)
    problems = []
    if missing:
        problems.append(
            f"in the baseline and not measured now: {', '.join(missing)} (removed, renamed, "
            "deselected or failed)"
        )
    if new:
        problems.append(f"measured now and not in the baseline: {', '.join(new)}")
    if problems:
        verdict = Verdict.FAIL if missing else Verdict.NO_BASELINE
        return Judgement("completeness", "", verdict, "; ".join(problems))
    if not due:
        return Judgement("completeness", "", Verdict.NO_BASELINE, "nothing was compared at all")
    return Judgement(
        "completeness", "", Verdict.PASS, f"{len(due)} precisions, nothing missing, nothing new"
    )


def _judgement(metric: str, case: _Case, verdict: Verdict, reason: str) -> Judgement:
    return Judgement(metric, case.name, verdict, reason)


def _by_seed(record: Record) -> dict[int, TrainingRun]:
    return {entry.run.seed: entry.run for entry in record.rounds}


def _all_by_seed(records: Iterable[Record]) -> dict[int, list[TrainingRun]]:
    found: dict[int, list[TrainingRun]] = {}
    for record in records:
        for seed, run in _by_seed(record).items():
            found.setdefault(seed, []).append(run)
    return found


def _hashes(records: Iterable[Record]) -> dict[int, set[str]]:
    return {
        seed: {run.weights_sha256 for run in runs} for seed, runs in _all_by_seed(records).items()
    }


def _either(outcomes: Iterable[Outcome]) -> str:
    return "/".join(sorted({str(outcome) for outcome in outcomes}))
