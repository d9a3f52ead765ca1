"""The result of ``cnnprec ab`` for people (Markdown) and for programs (JSON)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cnnprec.ab.plan import EXIT_OF, LAYOUT_VERSION, Plan
from cnnprec.records.json_numbers import encode
from cnnprec.records.read_sessions import SavedSession
from cnnprec.records.record import Record
from cnnprec.reports.verdicts import verdicts_markdown
from cnnprec.text import markdown_table, markdown_text, printable
from cnnprec.verdicts.case import MEMORY, TIME, figure
from cnnprec.verdicts.verdict import Comparison

Pairs = Sequence[tuple[SavedSession, SavedSession]]  # of A and B, in the order of the pairs


def as_json(plan: Plan, look: int, pairs: Pairs, comparison: Comparison) -> dict[str, Any]:
    """The whole result, with every figure that it rests on; ready for JSON."""
    plain: dict[str, Any] = encode(
        {
            "version": LAYOUT_VERSION,
            "plan": msgspec.to_builtins(plan),
            "look": look,
            "verdict": comparison.verdict.value,
            "exit_code": int(EXIT_OF[comparison.verdict]),
            "changed": msgspec.to_builtins(comparison.changed),
            "judgements": msgspec.to_builtins(comparison.judgements),
            "pairs": [
                {
                    "pair": pair,
                    "order": "AB" if pair % 2 else "BA",
                    "A": {name: _figures(record) for name, record in a.records.items()},
                    "B": {name: _figures(record) for name, record in b.records.items()},
                }
                for pair, (a, b) in enumerate(pairs, start=1)
            ],
        }
    )
    return plain


def as_markdown(
    plan: Plan, look: int, pairs: Pairs, comparison: Comparison, folder: Path
) -> list[str]:
    """The lines of a page: sides, verdicts, and the command that does it again in a new folder."""
    rows = []
    for name, session in zip("AB", pairs[0], strict=True):
        side = plan.sides[name]
        machine = next(iter(session.records.values())).environment
        described = (machine.commit or machine.code, machine.python, machine.tensorflow)
        paths = (f"`{printable(path)}`" for path in (side.python, side.checkout))
        rows.append((name, *paths, *map(markdown_text, described)))
    return [
        "# cnnprec ab: B against A",
        "",
        *markdown_table(("", "interpreter", "checkout", "commit", "Python", "TensorFlow"), rows),
        "",
        f"{len(pairs)} pairs of processes, look {look} of {len(plan.looks)} "
        f"(planned at {', '.join(map(str, plan.looks))} pairs). Ratios are B over A: "
        "above 1, B is slower or larger.",
        "",
        *verdicts_markdown(comparison),
        "",
        "Reproduce with",
        "",
        "```sh",
        plan.command(folder.with_name(folder.name + "-again")),
        "```",
        "",
    ]


def _figures(record: Record) -> dict[str, Any]:
    """What a session's verdicts rest on: the rounds, and the one figure of each size."""
    return {
        "figures": {size.field: figure(record, size.field) for size in (TIME, MEMORY)},
        "rounds": [
            {
                "seed": entry.run.seed,
                "outcome": entry.run.outcome.value,
                "test_accuracy": entry.run.test_accuracy,
                "seconds": entry.seconds,
                "cpu_seconds": entry.cpu_seconds,
                "peak_memory_bytes": entry.peak_memory_bytes,
            }
            for entry in record.rounds
        ],
    }
