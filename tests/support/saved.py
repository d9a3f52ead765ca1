"""Saved sessions made by hand, in a row of hours."""

import dataclasses
import math
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cnnprec.records.read_sessions import SavedSession
from cnnprec.records.record import Record, Turns
from tests.support.histories import session

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def saved(place: int, records: dict[str, Record], **change) -> SavedSession:
    return SavedSession(
        **{
            "path": Path(f"{place:04}_run.json"),
            "name": "run",
            "saved_at": START + timedelta(hours=place),
            "records": records,
            "failed": False,
            "verdict": None,
            **change,
        }
    )


def row(factors, **change) -> list[SavedSession]:
    """A session of `single` for each factor on its time."""
    return [saved(place, session(factor, **change)) for place, factor in enumerate(factors)]


def with_environment(records: dict[str, Record], **change) -> dict[str, Record]:
    return {
        name: dataclasses.replace(r, environment=dataclasses.replace(r.environment, **change))
        for name, r in records.items()
    }


def turned(log: float, state: float, name: str = "single", **change) -> dict[str, Record]:
    """A session of timed turns; logarithms of its time and of its calibrators' times."""
    ((_, record),) = session(name=name).items()
    turns = Turns(5, (5 * math.exp(log),) * 12, (("copy", math.exp(state)),), 4, True)
    config = dataclasses.replace(record.config, turns=12)
    return with_environment(
        {name: dataclasses.replace(record, turns=turns, config=config)}, **change
    )
