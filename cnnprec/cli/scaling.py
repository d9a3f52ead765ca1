"""``cnnprec scaling``: time and memory over batch size and width, and where precisions cross."""

import argparse
import dataclasses
import fcntl
import importlib.metadata
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cnnprec.ab.plan import AbError, Exit
from cnnprec.ab.processes import indented, status_text
from cnnprec.cli.console import Commands, note, parse_svg, say
from cnnprec.machine.code import code_digest
from cnnprec.machine.names import check_device_name, machine_id
from cnnprec.measurement.supported import check_device, lack_of_memory, supported_precisions
from cnnprec.precision.precisions import PRECISIONS, format_precisions, parse_precisions
from cnnprec.records.scaling import Point, Study, read_study, write_study
from cnnprec.records.write_whole import write_whole
from cnnprec.reports.scaling import plot, table
from cnnprec.text import duration, reported
from cnnprec.verdicts.recommend import REFERENCE
from cnnprec.workload.profiles import FEWEST_TURNS, TrainingConfig

_MOST = 10**6  # images in a batch, and times the width
_IMAGES = 640  # that are trained on before the turns, or two steps where that is more


def add(commands: Commands) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "scaling",
        help="find the batch and width from which each precision pays",
        description="Times all precisions by turns at each width of the model and batch size, on "
        "synthetic images, each pair in a new process. What is measured is kept in FILE at once; "
        "the same command goes on where it was stopped.",
        epilog="Exit codes: 0 all is measured, 4 bad options, 5 a measurement failed, 130 "
        "interrupted. Example: cnnprec scaling --batches 32,512 --widths 1,4 --out s.json",
    )
    text = "where all is kept, as JSON"
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=text)
    text = "draw it into this file, such as x.svg"
    parser.add_argument("--plot", type=reported(parse_svg), metavar="FILE", help=text)
    counts, names = reported(_counts), reported(parse_precisions)
    for option, parse, default, what in (
        ("batches", counts, "32,64,128,256,512,1024,2048,4096", "images per step"),
        ("widths", counts, "1,2,4,8", "factors on the channels of the hidden layers"),
        ("precision", names, None, "names"),
        ("device", reported(check_device_name), "auto", "auto, cpu, gpu or gpu:N"),
        ("turns", int, 20, "timed turns"),
    ):
        text = f"{what} (default: {default or 'all that the device supports'})"
        parser.add_argument(f"--{option}", type=parse, default=default, metavar="X", help=text)
    parser.set_defaults(run=_run)


def _counts(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() and 1 <= int(part) <= _MOST for part in text.split(",")):
        raise ValueError(f"{text!r}: give whole numbers from 1 to {_MOST}, such as 32,128,512")
    return tuple(sorted({int(part) for part in text.split(",")}))


def _run(asked: argparse.Namespace) -> None:
    asked.precision = asked.precision or supported_precisions(asked.device)
    names = format_precisions(asked.precision)
    _check(asked)
    with Path(f"{asked.out}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            busy = f"another one is at work on {asked.out}. Choose another --out."
            raise ValueError(busy) from error
        study = _measure(asked, names)
    for line in table(study, names.split(",")):
        say(line)


def _check(asked: argparse.Namespace) -> None:
    """Refuses by a ValueError what can be refused before TensorFlow is loaded."""
    check_device(asked.device)
    for precision in set(asked.precision) - set(supported_precisions(asked.device)):
        raise ValueError(f"--precision {precision}: this device cannot compute in it")
    if PRECISIONS[REFERENCE] not in asked.precision:
        raise ValueError(f"--precision: add {REFERENCE}, which the others are compared with")
    if asked.turns < FEWEST_TURNS:
        raise ValueError(f"--turns {asked.turns}: must be at least {FEWEST_TURNS}")
    reasons = _lacking(asked, _config(asked, asked.widths[0], asked.batches[0]))
    if len(reasons) == len(asked.precision):
        raise ValueError(f"--batches {asked.batches[0]}: {reasons[REFERENCE]}")


def _measure(asked: argparse.Namespace, names: str) -> Study:
    """Measures what is missing in the file."""
    conditions = {
        "machine": machine_id(asked.device),
        "device": asked.device,
        "precisions": names,
        "turns": str(asked.turns),
        "tensorflow": importlib.metadata.version("tensorflow"),
        "code": code_digest(),
    }
    study = read_study(asked.out, conditions)
    every = [_config(asked, width, batch) for width in asked.widths for batch in asked.batches]
    due = [config for config in every if not study.of(config.width, config.batch_size)]
    took: list[tuple[int, float]] = []  # arithmetic of a step, and the seconds of all
    while True:
        write_study(asked.out, study)
        if asked.plot:
            write_whole(asked.plot, plot(study, names.split(",")))
        if not due:
            return study
        work = [config.batch_size * config.width**2 for config in due]
        then = f"; about {duration(_left(took, work))} left" if took else ""
        where = f"{len(every) - len(due) + 1} of {len(every)}"
        note(f"{where}: width {due[0].width}, batch {due[0].batch_size}{then}")
        start = time.monotonic()
        study = Study(conditions, (*study.points, *_points(asked, due.pop(0))))
        took.append((work[0], time.monotonic() - start))


def _config(asked: argparse.Namespace, width: int, batch: int) -> TrainingConfig:
    images, turns = batch * max(2, _IMAGES // batch), asked.turns
    return TrainingConfig("scaling", images, 100, 1, 1, batch, turns=turns, width=width)


def _lacking(asked: argparse.Namespace, config: TrainingConfig) -> dict[str, str]:
    """Why a step does not fit into memory, by the precision; only of those where it does not."""
    size, width = config.batch_size, config.width
    reasons = {p.name: lack_of_memory([p], size, asked.device, width) for p in asked.precision}
    return {name: reason for name, reason in reasons.items() if reason}


def _points(asked: argparse.Namespace, config: TrainingConfig) -> list[Point]:
    """Measures in a process of its own, because a system out of memory kills it."""
    missing, found = _lacking(asked, config), list[Point]()
    names = [precision.name for precision in asked.precision if precision.name not in missing]
    if names:
        given = json.dumps([",".join(names), dataclasses.asdict(config), asked.device])
        command = [sys.executable, "-m", "cnnprec.cli.scaling", given]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        if done.returncode == -signal.SIGKILL:
            killed = "the system killed the process, as it does where memory runs out"
            missing |= dict.fromkeys(names, killed)
        elif done.returncode:
            raise AbError(
                f"width {config.width}, batch {config.batch_size}: the measurement ended with "
                f"{status_text(done.returncode)}. Its last lines:\n"
                f"{indented(done.stderr.splitlines())}",
                Exit.INVALID,
            )
        else:
            found = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Point])
    place = config.width, config.batch_size
    return [*found, *(Point(name, *place, missing=why) for name, why in missing.items())]


def _left(took: Sequence[tuple[int, float]], due: Sequence[int]) -> float:
    """Seconds that what is due will take: by a line through what took so long, or the mean."""
    work, seconds = zip(*took, strict=True)
    slope, least = 0.0, statistics.fmean(seconds)
    if len(set(work)) > 1:
        slope, least = statistics.linear_regression(work, seconds)
    return sum(max(0.0, least + slope * other) for other in due)


if __name__ == "__main__":  # the process of one width and batch size
    from cnnprec.measurement.scaling import measure_points

    names, plain, device = json.loads(sys.argv[1])
    points = measure_points(parse_precisions(names), TrainingConfig(**plain), device)
    say(msgspec.json.encode(list(points)).decode())
