"""What a comparison comes to: verdicts, the judgements behind them, and their limits."""

import dataclasses
import math
from collections.abc import Iterable

from cnnprec.text import Word
from cnnprec.verdicts.comparability import Difference
from cnnprec.verdicts.estimate import Estimate

DEFAULT_TOLERANCE = 0.03  # a slowdown up to this is no failure, however surely it is there
DEFAULT_MARGIN = 0.10  # a slowdown of this or more has to be excluded for a PASS


class Verdict(Word):
    """What a comparison came to; of several parts it is the first of these that one part has."""

    FAIL = "FAIL"  # a change for the worse is there
    INVALID = "INVALID"  # what was measured cannot be judged: a run or a time is missing
    INCOMPARABLE = "INCOMPARABLE"  # the baseline is another machine's or another workload's
    NO_BASELINE = "NO_BASELINE"  # there is nothing to compare with
    INCONCLUSIVE = "INCONCLUSIVE"  # the noise, or too few sessions, allow neither
    PASS = "PASS"  # noqa: S105 - no password
    """A change as large as the margin is excluded."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """What several verdicts come to together; NO_BASELINE if there is none."""
    return min(verdicts, key=list(Verdict).index, default=Verdict.NO_BASELINE)


class Metric(Word):
    """What is judged."""

    SPEED = "speed"
    MEMORY = "memory"
    OUTCOME = "outcome"
    ACCURACY = "accuracy"
    NUMERICS = "numerics"
    COMPLETENESS = "completeness"


GROWTHS = (Metric.SPEED, Metric.MEMORY)  # the metrics that are sizes with a ratio to the baseline

PRECISION_METRICS = (Metric.SPEED, Metric.MEMORY, Metric.OUTCOME, Metric.ACCURACY, Metric.NUMERICS)
"""What can be judged of a precision. Its memory is its own on a GPU alone."""

SESSION_METRICS = (Metric.SPEED, Metric.MEMORY, Metric.COMPLETENESS)
"""What can be judged of a session: the speed of all precisions together, where there are several;
the memory of the whole process, on a CPU; and that nothing is missing."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much slower is too slow; ValueError for not ``0 <= tolerance < margin``."""

    tolerance: float = DEFAULT_TOLERANCE  # relative slowdown up to which no failure is called
    margin: float = DEFAULT_MARGIN  # relative slowdown that must be excluded for a PASS

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < self.margin < float("inf"):
            raise ValueError(
                f"tolerance {self.tolerance:.3g} and margin {self.margin:.3g}: the tolerance must "
                "be at least 0 and smaller than the margin, such as 0.03 and 0.10"
            )


def parse_share(text: str) -> float:
    """Reads a share such as ``3%`` or ``0.03``; ValueError for any not of 0 to 10 (1000 %)."""
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
class Judgement:
    """One verdict and why."""

    metric: Metric
    precision: str  # name of the precision; empty for the session as a whole
    verdict: Verdict
    reason: str  # one sentence, with the figures and, where there is one, the remedy
    estimate: Estimate | None = None
    quantity: str = ""  # what the estimate is about, such as ``"time per step"``; empty without one
    notice: bool = False  # whether a PASS is worth a sentence all the same


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All verdicts of one comparison."""

    judgements: tuple[Judgement, ...]  # by precision, as in `PRECISION_METRICS`; the session's last
    changed: tuple[Difference, ...]  # how the stack differs between the baseline and now
    basis: str  # what was compared with, for people, such as ``"7 saved sessions"``
    paired: bool = False  # whether both sides ran next to each other: the machine's drift cancels
    machine: float | None = None  # how much slower it was, by calibrators (0.14: 14 %), if used
    why_no_machine: str = ""  # why the calibrators there are were not used; empty otherwise

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return worst(judgement.verdict for judgement in self.judgements)

    def of(self, metric: Metric, precision: str) -> Judgement:
        """The judgement on this metric of this precision; INVALID if that was not measured."""
        for judgement in self.judgements:
            if (judgement.metric, judgement.precision) == (metric, precision):
                return judgement
        who = precision or "the session"
        reason = f"{who} was not measured, so its {metric} cannot be judged"
        return Judgement(metric, precision, Verdict.INVALID, reason)
