"""Which records may be compared with each other.

A time means something only beside a time of the same work on the same machine. The software
between the two is what the comparison is about, so it may differ, but it is always told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType

from cnnprec.records.record import Record
from cnnprec.text import Word, did_you_mean


class Part(Word):
    """What a field of a record describes, and so whether it may differ."""

    MACHINE = "machine"
    """The hardware and its settings: must be the same."""
    WORKLOAD = "workload"
    """What is computed: must be the same."""
    STACK = "stack"
    """The software, this project's code included: may differ, and is always listed."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One thing that two records are compared in.

    Attributes:
        name: The name shown, and for the stack the name that `parse_vary` takes.
        part: What it describes.
        read: Its value in a record. Two records agree if these are equal.
        show: The value for people, where it is not simply the text of it.
    """

    name: str
    part: Part
    read: Callable[[Record], object]
    show: Callable[[Record], str] | None = None

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


def _rows(part: Part, owner: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name, part, attrgetter(f"{owner}.{name}")) for name in names)


def _features(names: tuple[str, ...] | None) -> str:
    return "unknown" if names is None else " ".join(names) or "none"


def _code(record: Record) -> str:
    environment = record.environment
    return f"{environment.code} (commit {environment.commit or 'unknown'})"


FIELDS: tuple[Field, ...] = (
    *_rows(
        Part.MACHINE,
        "environment",
        "device_kind",
        "device_model",
        "device_count",
        "device_memory_bytes",
        "mig_mode",
        "power_limit_watts",
        "cpu_model",
    ),
    Field(
        "cpu_features",
        Part.MACHINE,
        attrgetter("environment.cpu_features"),
        lambda record: _features(record.environment.cpu_features),
    ),
    *_rows(Part.MACHINE, "environment", "usable_cores", "system", "architecture"),
    Field("data", Part.WORKLOAD, attrgetter("data.name")),
    Field(
        "data_digest",
        Part.WORKLOAD,
        attrgetter("data.digest"),
        lambda record: record.data.digest[:12],
    ),
    *_rows(
        Part.WORKLOAD,
        "config",
        "profile",
        "train_samples",
        "test_samples",
        "epochs",
        "runs",
        "batch_size",
        "jit",
        "seed",
        "turns",
    ),
    Field("precision", Part.WORKLOAD, attrgetter("precision.name")),
    # The models of all of them stay in memory and share the caches.
    Field(
        "precisions",
        Part.WORKLOAD,
        lambda record: frozenset({record.precision.name, *record.companions}),
        lambda record: ", ".join(sorted({record.precision.name, *record.companions})),
    ),
    *_rows(
        Part.WORKLOAD,
        "precision",
        "variable_dtype",
        "compute_dtype",
        "loss_scaling",
        "tensor_float_32",
        "optimizer_overrides",
    ),
    # These are switches of TensorFlow, not versions: they decide what is computed and by how
    # many threads.
    *_rows(
        Part.WORKLOAD,
        "environment",
        "op_determinism",
        "onednn",
        "intra_op_threads",
        "inter_op_threads",
    ),
    *_rows(
        Part.STACK,
        "environment",
        "driver",
        "cuda",
        "cudnn",
        "vbios",
        "tensorflow",
        "keras",
        "numpy",
        "python",
        "kernel",
    ),
    Field("code", Part.STACK, attrgetter("environment.code"), _code),
)
"""Everything that two records are compared in, in the order in which it is listed."""

STACK_NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS if field.part is Part.STACK)
"""The names that `parse_vary` takes."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"commit": "code", "gpu-driver": "driver", "tf": "tensorflow"}
)
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
    """All fields in which two records differ, in the order of `FIELDS`.

    Only what the records say of machine, work and software is read, never their rounds:
    ``current`` may have none yet. A value that one of them does not know (``None``, or the
    code of records of schema version 1) differs from every known one.
    """
    if _whole(baseline) == _whole(current):
        return ()  # the usual case, and a tenth of the time of the fields one by one
    return tuple(
        Difference(field.part, field.name, field.text(baseline), field.text(current))
        for field in FIELDS
        if field.read(baseline) != field.read(current)
    )


def _whole(record: Record) -> tuple[object, ...]:
    """All that `FIELDS` read, and a little more."""
    return (
        record.environment,
        record.config,
        record.data,
        record.precision,
        record.companions,
    )


def stack(record: Record) -> dict[str, object]:
    """The software of a record by the names of `STACK_NAMES`."""
    return {field.name: field.read(record) for field in FIELDS if field.part is Part.STACK}


def parse_vary(text: str) -> frozenset[str]:
    """Reads a comma list of the parts of the stack that are meant to differ.

    Case does not matter, and `ALIASES` are understood. A name given twice counts once.

    Raises:
        ValueError: The list holds an empty or unknown name. Every unknown name is reported
            at once, with a close match if there is one and the names that are accepted.
    """
    names = [name.strip() for name in text.split(",")]
    accepted = ", ".join(STACK_NAMES)
    if not all(names):
        raise ValueError(
            f"{text!r} holds an empty name. Give one or more of {accepted}, separated by "
            "single commas."
        )
    found = {name: ALIASES.get(name.lower(), name.lower()) for name in names}
    problems = [_unknown(name) for name, key in found.items() if key not in STACK_NAMES]
    if problems:
        raise ValueError(f"{' '.join(problems)} Known names: {accepted}.")
    return frozenset(found.values())


def _unknown(name: str) -> str:
    hint = did_you_mean(name.lower(), [*STACK_NAMES, *ALIASES])
    return f"unknown part of the stack {name!r}.{hint}"


def refused(
    differences: Iterable[Difference], vary: frozenset[str] | None = None
) -> tuple[Difference, ...]:
    """Those differences that make two records incomparable.

    Machine and workload always count. The stack counts only with ``vary``: naming what is
    meant to differ says that all else is meant to be the same.

    Args:
        differences: What `differences` found.
        vary: Names of the stack that may differ, as from `parse_vary`; None for all.
    """
    return tuple(
        difference
        for difference in differences
        if difference.part is not Part.STACK or (vary is not None and difference.name not in vary)
    )
