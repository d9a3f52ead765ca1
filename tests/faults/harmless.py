"""Harmless changes of the stack, of which none may be a correctness FAIL.

Each is measured in a process of its own, in every precision, and compared with the first of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnprec.records.record import Record
from cnnprec.verdicts.comparability import Part, differences
from cnnprec.verdicts.compare import compare
from cnnprec.verdicts.judge_numbers import faults

ROOT = Path(__file__).parents[2]
PRECISIONS = (
    *("double", "single", "half", "mixed_half", "bfloat16", "mixed_bfloat16"),
    *("half_stable", "bfloat16_stable"),
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is done before TensorFlow is loaded."""

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    jit: str = "off"
    cores: int = 0  # that the process may use; 0 for all
    nice: int = 0
    kernel: str = ""  # what the system says it is, if not empty
    backwards: bool = False  # the order of the precisions
    elsewhere: bool = False  # whether it runs in another directory


_ONE = {"TF_NUM_INTRAOP_THREADS": "1"}
_PLAIN = {"TF_ENABLE_ONEDNN_OPTS": "0"}
VARIANTS: Mapping[str, Variant] = {
    "nothing": Variant(),
    "nothing, once more": Variant(),
    "one thread": Variant(_ONE),
    "three threads": Variant({"TF_NUM_INTRAOP_THREADS": "3"}),
    "one core": Variant(cores=1),
    "without oneDNN": Variant(_PLAIN),
    "without oneDNN, one thread": Variant({**_PLAIN, **_ONE}),
    "oneDNN limited to AVX2": Variant({"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "oneDNN limited to SSE4.1": Variant({"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    "op determinism": Variant({"TF_DETERMINISTIC_OPS": "1"}),
    "XLA": Variant(jit="on"),
    "XLA, one thread": Variant(_ONE, jit="on"),
    "nice": Variant(nice=10),
    "locale and time zone": Variant({"LC_ALL": "C", "TZ": "Asia/Kathmandu"}),
    "directory": Variant(elsewhere=True),
    "kernel": Variant(kernel="9.9.9-generic"),
    "order of the precisions": Variant(backwards=True),
}
"""The first one is the baseline of the others."""


def measure(name: str) -> dict[str, Any]:
    """Records by precision, measured in this process."""
    variant = VARIANTS[name]
    os.nice(variant.nice)
    if variant.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: variant.cores])
    if variant.kernel:
        platform.release = lambda: variant.kernel
    from tests.faults.trial import CONFIG, measured

    config = dataclasses.replace(CONFIG, jit=variant.jit)
    order = reversed(PRECISIONS) if variant.backwards else PRECISIONS
    return {precision: measured(precision, config).to_dict() for precision in order}


def measured_apart(name: str) -> dict[str, Record]:
    """The same, in a process of its own."""
    variant = VARIANTS[name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variant.environment}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        subprocess.run(
            [sys.executable, "-m", "tests.faults.harmless", name, str(target)],
            check=True,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            cwd=folder if variant.elsewhere else ROOT,
        )
        found = json.loads(target.read_text())
    return {precision: Record.from_dict(plain) for precision, plain in found.items()}


def failures(before: Mapping[str, Record], now: Mapping[str, Record]) -> Iterator[list[str]]:
    """By precision: whether the weights are the same, and every correctness FAIL."""
    for name, new in now.items():
        old = before[name]
        same = "same" if _weights(old) == _weights(new) else "other"
        found = [str(check) for check, texts in faults(new, now).items() if texts]
        sides = [dataclasses.replace(new.environment, tensorflow="9.9")]
        # Other threads or another machine are refused before anything is compared.
        if all(difference.part is Part.STACK for difference in differences(old, new)):
            sides.append(new.environment)
        for side in sides:
            comparison = compare([before] * 5, {name: dataclasses.replace(new, environment=side)})
            metrics = ("outcome", "accuracy", "numerics")
            found += [m for m in metrics if comparison.of(m, name).verdict == "FAIL"]
        yield [name, same, *found]


def _weights(record: Record) -> list[str]:
    return [entry.run.weights_sha256 for entry in record.rounds]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(measure(sys.argv[1])))
