"""Why a training went wrong, read from its replayed steps."""

from collections.abc import Iterable

from cnnprec.diagnosis.replay import StepReport, replay
from cnnprec.records.record import Outcome, TrainingRun
from cnnprec.training.device import tensor_float_32
from cnnprec.training.trainer import Trainer

_LATEST_REPLAYED = 100  # an eager step takes about a tenth of a second


def diagnose(reports: Iterable[StepReport]) -> str | None:
    """The figures that prove a cause, from what `replay` yields up to the first harm, if any.

    A step that moved a weight too far is the cause of the overflow that follows it.
    """
    steps, evidence = list[StepReport](), list[str]()
    for report in reports:
        steps.append(report)
        harm = () if report.harmless else report.bad
        if not evidence and report.blew_up:
            if report.second_moment_zero:
                evidence.append(
                    f"Adam's second moment underflowed in {report.second_moment_zero:.0%} of the "
                    f"weights at step {report.step}"
                )
            times = f"{report.largest_update:.0f} times Adam's bound"
            evidence.append(f"the largest update was {times}")
        frozen = not evidence and report.frozen
        if frozen:
            evidence.append(
                f"{report.should_move:.0%} of the weights have a gradient at step {report.step}, "
                "and not one of them changed"
            )
            evidence += [
                f"{finding.hyper_parameter}={finding.value:g} is {finding.cast_value:g} in "
                f"{finding.dtype}, so every update is zero"
                for finding in report.freezing
            ]
        if harm:
            evidence.append(f"first bad tensor: {harm[0]}")
        if harm or frozen:
            break
    if not evidence and steps and all(step.skipped for step in steps):
        evidence.append(f"the loss scaler skipped every step of {len(steps)}")
        evidence += [f"first bad tensor: {bad}" for step in steps for bad in step.bad][:1]
    return "; ".join(evidence) or None


def diagnose_run(trainer: Trainer, run: TrainingRun) -> str | None:
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
