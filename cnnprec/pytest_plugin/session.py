"""What one pytest session measures, what was asked of it, and what it found."""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cnnprec.precision.precisions import Precision
from cnnprec.records.read_sessions import Skipped, read_sessions
from cnnprec.records.record import Record
from cnnprec.verdicts.baseline import Selection
from cnnprec.verdicts.detect import Reach
from cnnprec.verdicts.history import History, history
from cnnprec.verdicts.limits import LimitTable
from cnnprec.verdicts.verdict import Comparison
from cnnprec.workload.profiles import TrainingConfig

if TYPE_CHECKING:
    from cnnprec.measurement.prepare import Prepared
    from cnnprec.measurement.soak import Soak

BENCHMARK, VERDICT = "precision_benchmark", "precision_verdict"
NUMERICS, SOAK, EACH = "precision_numerics", "precision_soak", "each_precision"
LIMITS = "precision_limits"
MARKS: Mapping[str, str] = {
    BENCHMARK: "times the training of one precision: takes the fixtures `precision` and `measure`",
    VERDICT: "judges one metric against the baseline: takes the fixtures `metric` and `judge`",
    NUMERICS: "judges the numbers of a precision: takes `precision`, `check` and `numbers`",
    LIMITS: "holds a precision to the limits of the device: takes `precision` and `hold`",
    SOAK: "compares a precision with itself again and again: takes `precision` and `soak`",
    EACH: "runs once for each precision chosen: takes the fixture `precision`",
}
"""The marks of tests, and what such a test does."""


@dataclasses.dataclass
class Session:
    """What one pytest session trains, on what, and what it has found so far."""

    config: TrainingConfig
    precisions: tuple[Precision, ...]
    dataset_choice: str
    data_dir: Path | None
    device_choice: str
    order_seed: int
    numerics: str = "off"
    limits: bool = False
    records: dict[str, Record] = dataclasses.field(default_factory=dict)
    soaks: "list[Soak]" = dataclasses.field(default_factory=list)
    prepared: "Prepared | None" = None

    def prepare(self) -> "Prepared":
        """Sets up the device and loads the images, once; ValueError if they cannot be had."""
        if self.prepared is None:
            start = time.perf_counter()
            # Imported here because TensorFlow takes seconds to load.
            from cnnprec.measurement.prepare import prepare

            prepared = prepare(
                self.config,
                self.precisions,
                dataset=self.dataset_choice,
                data_dir=self.data_dir,
                device=self.device_choice,
            )
            seconds = time.perf_counter() - start
            self.prepared = dataclasses.replace(prepared, seconds=seconds)
        return self.prepared


@dataclasses.dataclass
class Asked:
    """What is compared with saved sessions, and what came of it."""

    limits: LimitTable
    folder: Path | None = None
    comparing: bool = False
    pattern: str | None = None
    selection: Selection | None = None
    reach: Reach | None = None
    skipped: tuple[Skipped, ...] = ()
    comparison: Comparison | None = None
    history: History | None = None
    failed: list[str] = dataclasses.field(default_factory=list)
    saved: Path | None = None
    report: Path | None = None
    problems: list[str] = dataclasses.field(default_factory=list)


SESSION = pytest.StashKey[Session]()  # where pytest's config keeps the `Session`
ASKED = pytest.StashKey[Asked]()  # where pytest's config keeps what was `Asked`


def is_benchmark(item: pytest.Item) -> bool:
    """Whether the test times the training of a precision."""
    return item.get_closest_marker(BENCHMARK) is not None


def is_verdict(item: pytest.Item) -> bool:
    """Whether the test judges what was measured."""
    return item.get_closest_marker(VERDICT) is not None


def parameters(item: pytest.Item) -> Mapping[str, Any]:
    """The parameters of a test by name."""
    return getattr(getattr(item, "callspec", None), "params", {})


def selected(items: Iterable[pytest.Item]) -> list[Precision]:
    """The precisions whose benchmarks are among the tests, in their order."""
    chosen = (parameters(item)["precision"] for item in items if is_benchmark(item))
    return list(dict.fromkeys(chosen))


def found_history(asked: Asked, session: Session) -> History:
    """The sessions saved beside this one, in a row; looked for once."""
    if asked.history is None:
        saved, _ = read_sessions(asked.folder or "")
        asked.history = history(saved, session.records)
    return asked.history


@contextlib.contextmanager
def usage_errors(prefix: str = "") -> Iterator[None]:
    """Has pytest refuse its arguments with the text of a ValueError or an OSError."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise pytest.UsageError(f"{prefix}{error}") from error
