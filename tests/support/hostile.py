"""Sessions in which one value is another: what a damaged or hostile file may hold."""

import dataclasses
import json
import random
from collections.abc import Iterator
from typing import Any

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.record import Record, Turns
from tests.support import records, sessions

ESCAPES = "\x1b[2J\r\nverdict: PASS\n```\n| <b>&\u202e\u2028\x9b"
POISON = [
    *(None, True, False, 0, -1, 1, 0.0, -0.0, 0.5, 5e-324, 1e-200, 1e300, 1.7e308),
    *(2**31, 2**53 + 1, 2**63, 10**30, 10**400, -(10**400)),
    *("", "x", "nan", "inf", "-inf", "single", "FAIL", "\ud800", ESCAPES),
    *([], {}, [1], [[]], [[1, 2]], {"a": 1}),
]


def plain(made: list[Record]) -> dict:
    """The file of a session, as far as it is read."""
    file = sessions.changed()
    benchmark = file["benchmarks"][0]
    file["benchmarks"] = [
        {**benchmark, "name": one.precision.name, "extra_info": {"cnnprec": one.to_dict()}}
        for one in made
    ]
    return file


def on_gpu() -> list[Record]:
    """What a session with timed turns on a GPU measured, all fields filled."""
    state = GpuState(("thermal",), 0, (13,), 60, 1500, 250.0)
    turns = Turns(5, tuple(0.1 + i / 1000 for i in range(10)), (("sum", 0.01),), 3, True, state)
    environment = dataclasses.replace(
        records.ENVIRONMENT,
        device_kind="gpu",
        device_memory_bytes=8 * 10**10,
        power_limit_watts=700.0,
        driver="580.1",
        cuda="12.9",
        cudnn="9",
        vbios="1",
        mig_mode="off",
    )
    rounds = tuple(
        dataclasses.replace(
            records.a_round(1.0, seed=12 + i, loss_scales=((0, 32768.0),), first_bad_step=i),
            state=state,
        )
        for i in range(2)
    )
    return [
        records.record(
            name,
            rounds,
            companions=("half",) if name == "single" else ("single",),
            environment=environment,
            config=dataclasses.replace(records.CONFIG, turns=10),
            turns=turns,
            diagnosis="it is slow",
        )
        for name in ("single", "half")
    ]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value inside one of JSON types."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def texts(value: Any) -> Any:
    """A copy in which every text says what a terminal, Markdown and HTML would heed.

    What is one of some words, or a digest, stays: nothing else is read there.
    """
    if isinstance(value, dict):
        return {key: item if key in FIXED else texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [texts(item) for item in value]
    return value + ESCAPES if isinstance(value, str) else value


FIXED = {"name", "outcome", "jit", "strategy", "losses", "first_losses", "companions"}
FIXED |= {"device_kind"}


def mutant(file: dict, dice: random.Random) -> tuple[tuple, dict]:
    """A copy in which one place holds something else, is missing or is there twice."""
    changed = json.loads(json.dumps(file))  # a copy, faster than that of copy
    path = dice.choice([p for p in places(file) if p[0] in ("benchmarks", "cnnprec", "datetime")])
    owner = changed
    for key in path[:-1]:
        owner = owner[key]
    how = dice.randrange(12)
    if how == 0:
        del owner[path[-1]]
    elif how == 1 and isinstance(owner, list):
        owner.append(owner[path[-1]])
    elif how == 2 and isinstance(owner[path[-1]], float | int):
        owner[path[-1]] *= dice.choice([-1, 1e-9, 1e9, 1e200])
    else:
        owner[path[-1]] = dice.choice(POISON)
    return path, changed
