"""Why a training went wrong, read from its replayed steps."""

import dataclasses
from collections.abc import Iterable

from cnnprec.diagnosis.replay import replay
from cnnprec.diagnosis.sighting import Cause, Phase, Sighting, StepReport
from cnnprec.records.record import Outcome, TrainingRun
from cnnprec.training.device import tensor_float_32
from cnnprec.training.trainer import Trainer

_LATEST_REPLAYED = 100  # an eager step takes about a tenth of a second


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Why a training went wrong."""

    cause: Cause | None  # the root of it; None if nothing is wrong
    first: Sighting | None  # the first bad tensor that did harm
    handled: tuple[Sighting, ...]  # bad tensors in steps that a loss scaler skipped
    evidence: tuple[str, ...]  # the figures that prove the cause, without a full stop

    def __str__(self) -> str:
        return "; ".join(self.evidence) if self.evidence else "nothing is wrong"


def diagnose(reports: Iterable[StepReport]) -> Diagnosis:
    """Reads the reports that `replay` yields, up to the first harm.

    A step that moved a weight too far is the cause of the overflow that follows it, unless the
    state was bad before.
    """
    skipped: list[bool] = []
    handled: list[Sighting] = []
    evidence: list[str] = []
    root: Cause | None = None
    first: Sighting | None = None
    for report in reports:
        skipped.append(report.skipped)
        if report.harmless:
            handled += report.bad
        elif report.bad:
            first = report.bad[0]
        if root is None and first is not None and first.phase is Phase.STATE:
            root = Cause.OUTSIDE
        if root is None and report.blew_up:
            root = Cause.OVERFLOW
            if report.second_moment_zero:
                root = Cause.SECOND_MOMENT_UNDERFLOW
                evidence.append(
                    f"Adam's second moment underflowed in {report.second_moment_zero:.0%} of the "
                    f"weights at step {report.step}"
                )
            times = f"{report.largest_update:.0f} times Adam's bound"
            evidence.append(f"the largest update was {times}")
        if root is None and report.frozen:
            root = Cause.HYPERPARAMETER if report.freezing else Cause.UPDATES_VANISH
            evidence.append(
                f"{report.should_move:.0%} of the weights have a gradient at step {report.step}, "
                "and not one of them changed"
            )
            evidence += [
                f"{finding.hyper_parameter}={finding.value:g} is {finding.cast_value:g} in "
                f"{finding.dtype}, so every update is zero"
                for finding in report.freezing
            ]
        if first is not None:
            root = root or (Cause.INVALID if first.nan else Cause.OVERFLOW)
            evidence.append(f"first bad tensor: {first}")
        if first is not None or root in (Cause.HYPERPARAMETER, Cause.UPDATES_VANISH):
            break
    if root is None and skipped and all(skipped):
        root = Cause.ALWAYS_SKIPPED
        evidence.append(f"the loss scaler skipped every step of {len(skipped)}")
        if handled:
            evidence.append(f"first bad tensor: {handled[0]}")
    return Diagnosis(root, first, tuple(handled), tuple(evidence))


def diagnose_run(trainer: Trainer, run: TrainingRun) -> Diagnosis | None:
    """Replays the beginning of a run that did not train and tells why it did not.

    The replay is eager, so not always rounded alike, and the trainer's model is left in the middle
    of it. None if the run trained, or broke later than is worth replaying.
    """
    if run.outcome is Outcome.TRAINED or (run.first_bad_step or 0) > _LATEST_REPLAYED:
        return None
    trainer.reset(run.seed)
    # Rounded differently, the same trouble may come a few steps later.
    steps = trainer.batches.take((run.first_bad_step or 0) + 10)
    with tensor_float_32(trainer.precision.tensor_float_32):
        return diagnose(replay(trainer.model, steps))
