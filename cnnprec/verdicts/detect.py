"""What a comparison with a baseline can find, told by the baseline alone."""

import dataclasses
import math
from collections.abc import Sequence

from cnnprec.text import count_of
from cnnprec.verdicts.case import ENOUGH, TIME, Case, Records
from cnnprec.verdicts.estimate import predict
from cnnprec.verdicts.judge_growth import lines, tests
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.statistics import LEVEL
from cnnprec.verdicts.verdict import Metric


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a comparison with a baseline can find."""

    asked: float  # the slowdown of one precision that has to be found: 0.1 is 10 %
    count: int  # sessions of the baseline
    effect: float  # the slowdown found in 4 of 5 cases, whichever precision has it
    precision: str  # the one for which it takes so much; empty for too few sessions
    missing: int | None  # more sessions of this noise that find what was asked; None if 200 do not

    def __str__(self) -> str:
        have = count_of(self.count, "session")
        if not self.precision:
            return f"{have}; {ENOUGH} are needed to find any slowdown"
        have += f" find a slowdown of {self.effect:.1%} in 4 of 5 cases ({self.precision})"
        if self.missing is None:
            return f"{have}; {self.asked:.1%} is out of reach with this noise"
        return f"{have}; about {self.missing} more for {self.asked:.1%}" if self.missing else have


def reach(baseline: Sequence[Records], limits: LimitTable, asked: float | None) -> Reach:
    """What these sessions find; asked is the margin, or a slowdown above the tolerance, up to 1."""
    tolerance = limits.speed.tolerance
    if asked is None:
        asked = limits.speed.margin
    elif not tolerance < asked <= 1:
        raise ValueError(
            f"--detect {asked:.3g}: give a slowdown above the tolerance, {tolerance:g}, and up to 1"
        )
    if len(baseline) < ENOUGH:
        return Reach(asked, len(baseline), math.inf, "", ENOUGH - len(baseline))
    olds = {name: tuple(session[name] for session in baseline) for name in baseline[0]}
    cases = [Case(name, old, old[-1:]) for name, old in olds.items()]
    every = [
        (case, line, error)
        for error, known in tests(TIME, cases, LEVEL * TIME.share / len(cases))
        for case, line in zip(cases, lines(TIME, cases, known), strict=True)
    ]

    def effect(more: int) -> tuple[float, str]:
        """The largest detectable effect with so many more sessions, and its precision."""
        found = []
        for case, line, error in every:
            estimate = predict(
                dataclasses.replace(line, count=line.count + more, freedom=line.freedom + more),
                line.level,
                line.state,
                tolerance=limits.of(Metric.SPEED, case.name).tolerance,
                level=error,
                new_error=case.error(TIME),
            )
            found.append((estimate.detectable, case.name))
        return max(found)

    missing = next((more for more in range(201) if effect(more)[0] <= asked), None)
    return Reach(asked, len(baseline), *effect(0), missing)
