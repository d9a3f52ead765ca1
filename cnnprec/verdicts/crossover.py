"""Where a precision overtakes single."""

import math

from cnnprec.records.scaling import Point, Study
from cnnprec.verdicts.estimate import Estimate, paired
from cnnprec.verdicts.recommend import REFERENCE
from cnnprec.verdicts.verdict import DEFAULT_TOLERANCE


def over_reference(points: dict[str, Point], name: str) -> Estimate | None:
    """The time of a precision over that of `REFERENCE`, turn by turn; None where it is unknown."""
    times = [points[one].step_seconds if one in points else () for one in (name, REFERENCE)]
    ratios = [math.log(mine / other) for mine, other in zip(*times, strict=False)]
    return paired(ratios, None, tolerance=DEFAULT_TOLERANCE) if len(ratios) > 1 else None


def crossover(study: Study, name: str, width: int) -> int | None:
    """The smallest batch from which on every batch measured is shown to be faster; else None."""
    found = None
    for batch in sorted({p.batch for p in study.points if p.width == width}, reverse=True):
        ratio = over_reference(study.of(width, batch), name)
        if ratio is not None and ratio.high >= 1:
            break
        found = batch if ratio else found
    return found
