"""Which records may be compared with each other.

A time means something only beside a time of the same work on the same machine. The software
between the two is what the comparison is about, so it may differ, but it is always told.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter

from cnnprec.records.record import Record
from cnnprec.text import Word, comma_list, find_name


class Part(Word):
    """What a field of a record describes, and so whether it may differ."""

    MACHINE = "machine"  # the hardware and its settings: must be the same
    WORKLOAD = "workload"  # what is computed: must be the same
    STACK = "stack"  # the software, this code included: may differ, and is always listed


@dataclasses.dataclass(frozen=True)
class Field:
    """One thing that two records are compared in: they agree if what it reads is equal."""

    name: str
    part: Part
    read: Callable[[Record], object]
    show: Callable[[Record], str] | None = None  # the value for people, if not simply its text
    optional: bool = False  # whether a value that is not known (None) agrees with any other

    def text(self, record: Record) -> str:
        """The value of this field in a record, for people."""
        if self.show is not None:
            return self.show(record)
        value = self.read(record)
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value)


def _rows(part: Part, owner: str, names: str) -> tuple[Field, ...]:
    return tuple(Field(name, part, attrgetter(f"{owner}.{name}")) for name in names.split())


def _words(name: str, part: Part, *, optional: bool = False) -> Field:
    read = attrgetter(f"environment.{name}")

    def show(record: Record) -> str:
        words = read(record)
        return "unknown" if words is None else " ".join(words) or "none"

    return Field(name, part, read, show, optional)


def _code(record: Record) -> str:
    environment = record.environment
    return f"{environment.code} (commit {environment.commit or 'unknown'})"


def _threads(name: str) -> Field:
    """Older records have 0 for TensorFlow's own choice, which is a thread for each core."""
    read = attrgetter(f"environment.{name}", "environment.usable_cores")
    return Field(name, Part.WORKLOAD, lambda record: read(record)[0] or read(record)[1])


def _choice(record: Record) -> bool | None:
    """What ``--jit best`` chose; None where it has not chosen, or was not asked."""
    return record.jit_compiled if record.config.jit == "best" and record.rounds else None


def _show_choice(record: Record) -> str:
    choice = "on" if record.jit_compiled else "off"
    return f"{choice}, chosen by --jit best (--jit {choice} leaves no choice)"


def _precisions(record: Record) -> frozenset[str]:
    """All that were measured: their models stay in memory and share the caches."""
    return frozenset({record.precision.name, *record.companions})


_DEVICE = "device_kind device_model device_count device_memory_bytes mig_mode power_limit_watts"
_WORK = "profile train_samples test_samples epochs runs batch_size jit seed turns width strategy"
_DTYPES = "variable_dtype compute_dtype loss_scaling tensor_float_32 optimizer_overrides xla"
# Switches of TensorFlow, not versions: they decide what is computed and by how many threads.
_SWITCHES = "op_determinism onednn"
_SOFTWARE = "driver cuda cudnn vbios tensorflow keras numpy python kernel"

FIELDS: tuple[Field, ...] = (
    *_rows(Part.MACHINE, "environment", f"{_DEVICE} cpu_model"),
    _words("cpu_features", Part.MACHINE),
    *_rows(Part.MACHINE, "environment", "usable_cores system architecture"),
    Field("data", Part.WORKLOAD, attrgetter("data.name")),
    Field("data_digest", Part.WORKLOAD, attrgetter("data.digest"), lambda r: r.data.digest[:12]),
    *_rows(Part.WORKLOAD, "config", _WORK),
    Field("jit_compiled", Part.WORKLOAD, _choice, _show_choice, optional=True),
    Field("precision", Part.WORKLOAD, attrgetter("precision.name")),
    Field("precisions", Part.WORKLOAD, _precisions, lambda r: ", ".join(sorted(_precisions(r)))),
    *_rows(Part.WORKLOAD, "precision", _DTYPES),
    *_rows(Part.WORKLOAD, "environment", f"replicas {_SWITCHES}"),
    *map(_threads, ("intra_op_threads", "inter_op_threads")),
    *_rows(Part.STACK, "environment", _SOFTWARE),
    _words("variables", Part.STACK, optional=True),
    Field("code", Part.STACK, attrgetter("environment.code"), _code),
)
"""Everything that two records are compared in, in the order in which it is listed."""

STACK_NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS if field.part is Part.STACK)
"""The names that `parse_vary` takes."""

ALIASES: Mapping[str, str] = {"commit": "code", "gpu_driver": "driver", "tf": "tensorflow"}
"""Other spellings of them."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One field in which two records differ, with both values as text."""

    part: Part
    name: str
    baseline: str
    current: str

    def __str__(self) -> str:
        return f"{self.name}: {self.baseline} -> {self.current}"


def differences(baseline: Record, current: Record) -> tuple[Difference, ...]:
    """All fields in which two records differ, in the order of `FIELDS`; rounds are not read.

    A value that one of them does not know (``None``, or the code of records of schema version 1)
    differs from every known one, unless it is `optional`.
    """
    if _WHOLE(baseline) == _WHOLE(current):
        return ()  # the usual case, and a tenth of the time of the fields one by one
    return tuple(
        Difference(field.part, field.name, field.text(baseline), field.text(current))
        for field in FIELDS
        if (before := field.read(baseline)) != (now := field.read(current))
        and not (field.optional and None in (before, now))
    )


# All that `FIELDS` read, and a little more.
_WHOLE = attrgetter("environment", "config", "data", "precision", "companions", "jit_compiled")


def stack(record: Record) -> dict[str, object]:
    """The software of a record by the names of `STACK_NAMES`."""
    return {field.name: field.read(record) for field in FIELDS if field.part is Part.STACK}


def parse_vary(text: str) -> frozenset[str]:
    """Reads a comma list of the parts of the stack that are meant to differ.

    Case does not matter, and `ALIASES` are understood. A ValueError names every unknown one.
    """
    what = "part of the stack"
    return frozenset(comma_list(text, lambda name: find_name(name, STACK_NAMES, ALIASES, what)))


def refused(
    differences: Iterable[Difference], vary: frozenset[str] | None = None
) -> tuple[Difference, ...]:
    """Those that make two records incomparable: of the stack only what ``vary`` does not name."""
    accepted = STACK_NAMES if vary is None else vary
    return tuple(d for d in differences if d.part is not Part.STACK or d.name not in accepted)
