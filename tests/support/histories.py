"""Sessions made by hand, for the tests of what is judged."""

import dataclasses
import random

from cnnprec.records.record import Record, Turns
from cnnprec.verdicts.verdict import Comparison, Verdict
from tests.support.records import record as make_record

QUIET = (0.99, 1.01, 1.0, 0.985, 1.015, 1.005)


def session(factor: float = 1.0, name: str = "single", **change) -> dict[str, Record]:
    """A session of one precision whose times are `factor` seconds."""
    return {name: timed(make_record(name), [factor] * 3, **change)}


def timed(record: Record, seconds: list[float], **change) -> Record:
    """The record with these rounds; `change` holds fields of its runs and rounds."""
    run_fields = {field.name for field in dataclasses.fields(record.rounds[0].run)}
    rounds = []
    for place, value in enumerate(seconds):
        entry = record.rounds[0]
        run = dataclasses.replace(
            entry.run,
            seed=12 + place,
            **{k: v(place) if callable(v) else v for k, v in change.items() if k in run_fields},
        )
        rounds.append(
            dataclasses.replace(
                entry,
                run=run,
                seconds=value,
                cpu_seconds=2 * value,
                **{
                    "peak_memory_bytes": 500_000_000,
                    **{k: v for k, v in change.items() if k not in run_fields},
                },
            )
        )
    config = dataclasses.replace(record.config, runs=len(seconds))
    return dataclasses.replace(record, rounds=tuple(rounds), config=config)


def with_turns(seconds: list[float]) -> Record:
    """A record of single whose turns of 10 steps took so long."""
    record = make_record("single")
    turns = Turns(10, tuple(seconds), (), warm_up=0, steady=True)
    config = dataclasses.replace(record.config, turns=len(seconds))
    return dataclasses.replace(record, config=config, turns=turns)


def history(factors=QUIET, **change) -> list[dict[str, Record]]:
    return [session(factor, **change) for factor in factors]


def verdict(comparison: Comparison, metric: str = "speed", name: str = "single") -> Verdict:
    return comparison.of(metric, name).verdict


def on_gpu(session: dict[str, Record]) -> dict[str, Record]:
    """The session as if it had been measured on a GPU."""
    return {
        name: dataclasses.replace(
            record, environment=dataclasses.replace(record.environment, device_kind="gpu")
        )
        for name, record in session.items()
    }


def both(factor: float = 1.0) -> dict[str, Record]:
    return {**session(factor), **session(factor, name="half")}


def pairs(ratio: float, noise: float, count: int = 8, seed: int = 1):
    order = random.Random(seed)  # noqa: S311
    made = []
    for _ in range(count):
        shared = order.lognormvariate(0, 0.3)  # the machine's minute, which a pair shares
        made.append(
            tuple(
                session(shared * factor * order.lognormvariate(0, noise)) for factor in (1, ratio)
            )
        )
    return made
