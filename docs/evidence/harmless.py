"""Records how far harmless changes of the stack move the numbers; the limits are ten times that.

    python docs/evidence/harmless.py record FOLDER [VARIANT ...]   # a process each, minutes
    python docs/evidence/harmless.py write FOLDER                  # the tables of the package

The second command writes ``harmless.json`` in cnnprec/verdicts and ``reference.json`` in
cnnprec/workload. Needs Fashion-MNIST; about twenty minutes on two cores.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SEEDS = (12, 13, 14)
PRECISIONS = (
    *("double", "single", "half", "mixed_half", "bfloat16", "mixed_bfloat16"),
    *("half_stable", "bfloat16_stable"),
)
# name: environment, threads (0: as many as there are), XLA
VARIANTS: dict[str, tuple[dict[str, str], int, str]] = {
    "default": ({}, 0, "off"),
    "one-thread": ({}, 1, "off"),
    "no-onednn": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, 0, "off"),
    "no-onednn-one-thread": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, 1, "off"),
    "avx2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, 0, "off"),
    "xla": ({}, 0, "on"),
    "xla-one-thread": ({}, 1, "on"),
    "deterministic": ({"TF_DETERMINISTIC_OPS": "1"}, 0, "off"),
}


# Of docs/evidence/h100/numerics.json, where they are wrong on a GPU only (docs/gpu.md).
ON_A_GPU = {
    "conv2d.tutorial-2.bias_gradient[float16]": 2.04,
    "conv2d.tutorial-3.bias_gradient[float16]": 9.63,
    "dense.tutorial-1.bias_gradient[float16]": 1.48,
    "counting.bias-gradient.absorbed[float16]": 12.0,
}


def child(variant: str) -> dict[str, Any]:
    """What one variant computes: runs and replays by precision, in this process."""
    import dataclasses

    import msgspec
    import tensorflow as tf

    from cnnprec.measurement.probing import examine, probe
    from cnnprec.precision.precisions import PRECISIONS as ROWS
    from cnnprec.training.trainer import Trainer
    from cnnprec.workload.load_dataset import load_dataset
    from cnnprec.workload.profiles import PROFILES

    _, threads, jit = VARIANTS[variant]
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    found: dict[str, Any] = {}
    defects: dict[str, float | None] = {}
    for name in PRECISIONS:
        runs, probed = {}, {}
        for seed in SEEDS:
            config = dataclasses.replace(PROFILES["quick"], jit=jit, seed=seed)
            if seed == SEEDS[0]:
                dataset = load_dataset(
                    "fashion-mnist",
                    train_samples=config.train_samples,
                    test_samples=config.test_samples,
                )
                trainer = Trainer(ROWS[name], config, dataset)
                trainer.warm_up()
            trainer.reset(seed)
            trainer.fit()
            runs[seed] = msgspec.to_builtins(trainer.finish())
            trainer.config = config  # the replay starts from this seed
            probed[seed] = msgspec.to_builtins(examine(trainer, "full"))
        found[name] = {"runs": runs, "numerics": probed, "dtype": ROWS[name].compute_dtype}
        for result in probe(ROWS[name].compute_dtype, "full", False, False):
            if result.known_defect:
                defects[result.id] = _largest([result.max_error_over_bound])
    return {"tensorflow": tf.__version__, "precisions": found, "defects": defects}


def record(folder: Path, variants: list[str]) -> None:
    """Runs each variant in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in variants or VARIANTS:
        code = (
            f"import sys, json; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; "
            f"import harmless; found = harmless.child({name!r}); "
            f"json.dump(found, open({str(folder / (name + '.json'))!r}, 'w'))"
        )
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **VARIANTS[name][0]}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)  # noqa: S603
        print(name, flush=True)  # noqa: T201


def write(folder: Path) -> None:
    """Writes the tables from what was recorded."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    default = found["default"]["precisions"]
    reference = {seed: _reference(run) for seed, run in default["double"]["runs"].items()}
    table: dict[str, Any] = {
        "made_by": "docs/evidence/harmless.py",
        "tensorflow": found["default"]["tensorflow"],
        "seeds": list(SEEDS),
        "variants": list(found),
        "losses": {},
        "float64": {},
        "discontinuous": {"single": _on_the_gpu("single", reference)},
        "runs": {},
        "steps": {},
        "tensors": {},
        "miscounted": {},
        "means": {},
        "defects": ON_A_GPU
        | {
            probe: _largest(_number(side["defects"][probe]) for side in found.values())
            for probe in found["default"]["defects"]
        },
    }
    for name in PRECISIONS:
        sides = [side["precisions"][name] for side in found.values()]
        firsts = [[side["runs"][str(seed)]["first_losses"] for side in sides] for seed in SEEDS]
        moved = [_moves(a, b) for row in firsts for a, b in itertools.combinations(row, 2)]
        away = [
            _moves(reference[str(seed)]["first_losses"], losses)
            for seed, row in zip(SEEDS, firsts, strict=True)
            for losses in row
        ]
        table["losses"][name] = _envelope(moved)
        table["float64"][name] = _envelope(away)
        runs = [(reference[str(seed)], side["runs"][str(seed)]) for seed in SEEDS for side in sides]
        finals = [abs(_number(b["losses"][-1]) / a["losses"][-1] - 1) for a, b in runs]
        lost = [a["test_accuracy"] - b["test_accuracy"] for a, b in runs]
        table["runs"][name] = [_largest(finals), _largest(lost)]
        probed = [side["numerics"][str(seed)] for side in sides for seed in SEEDS]
        table["steps"][name] = _envelope([[_number(x) for x in p["losses"]] for p in probed], 3)
        table["tensors"][name] = {
            row[0]: [_largest(_number(p["tensors"][place][k]) for p in probed) for k in range(1, 5)]
            for place, row in enumerate(probed[0]["tensors"])
        }
        table["miscounted"][name] = max(abs(p["miscounted"]) for p in probed)
        means = table["means"].setdefault(sides[0]["dtype"], {})
        for p in probed:
            for group, _, mean, _ in p["probes"]:
                means[group] = max(means.get(group, 0.0), abs(mean))
        wrong = sorted({text for p in probed for text in p["wrong"]})
        if wrong:
            print(name, "over a bound:", *wrong, sep="\n  ")  # noqa: T201
    package = ROOT / "cnnprec"
    (package / "verdicts" / "harmless.json").write_text(_rows(table))
    (package / "workload" / "reference.json").write_text(
        _rows({"made_by": "docs/evidence/harmless.py", "profile": "quick", "seeds": reference})
    )


def _on_the_gpu(name: str, reference: dict[str, Any]) -> list[float | None]:
    """How far the losses of a precision were from float64's on the GPU of docs/gpu.md."""
    rows = []
    for path in sorted((ROOT / "docs" / "evidence" / "h100").glob("*.json")):
        for entry in json.loads(path.read_text())["benchmarks"]:
            record = entry["extra_info"]["cnnprec"]
            runs = [r["run"] for r in record["rounds"] if record["precision"]["name"] == name]
            rows += [
                _moves(reference[str(run["seed"])]["first_losses"], run["first_losses"])
                for run in runs
            ]
    return _envelope(rows)


def _reference(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in ("first_losses", "losses", "test_accuracy")}


def _number(value: float | None) -> float:
    return math.nan if value is None else value  # msgspec writes NaN as null


def _moves(a: list[float], b: list[float]) -> list[float]:
    return [abs(_number(y) - _number(x)) / abs(_number(x)) for x, y in zip(a, b, strict=True)]


def _envelope(rows: list[list[float]], steps: int = 16) -> list[float | None]:
    """The largest up to each step; null from the first that is not finite in one of them."""
    found: list[float | None] = []
    so_far = 0.0
    for step in range(steps):
        values = [row[step] if step < len(row) else math.nan for row in rows]
        if (found and found[-1] is None) or not all(map(math.isfinite, values)):
            found.append(None)
        else:
            so_far = max(so_far, *values)
            found.append(float(f"{so_far:.2g}"))
    return found


def _largest(values: Any) -> float | None:
    """The largest magnitude; null where one is not finite."""
    sizes = [abs(value) for value in values]
    return float(f"{max(sizes):.2g}") if all(map(math.isfinite, sizes)) else None


def _rows(table: dict[str, Any]) -> str:
    """JSON with a line for each row of each table."""
    parts = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items()]
            parts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n }")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    command, where, *names = sys.argv[1:]
    if command == "record":
        record(Path(where), names)
    else:
        write(Path(where))
