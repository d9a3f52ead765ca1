"""Rates of false alarms and power of the change points of ``cnnprec history``, printed.

``python docs/evidence/history_rates.py`` prints the tables of docs/history.md; draws are seeded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cnnprec.text import markdown_table
from cnnprec.verdicts.history import FEWEST, change_points, cut

Floats = npt.NDArray[np.float64]

LENGTHS = (30, 60, 120)
NOISE = 0.02
STEP = np.log(1.10)
WITHIN, PLACE = 6, 2


def found_in(logs: Floats) -> list[int]:
    """The places at which ``cnnprec history`` finds a change."""
    return change_points(logs)[1:]


def noise(random: np.random.Generator, count: int, correlation: float = 0.0) -> Floats:
    """Normal noise of standard deviation 1, autoregressive of the first order."""
    draws = random.normal(size=count)
    for place in range(1, count):
        draws[place] = correlation * draws[place - 1] + (1 - correlation**2) ** 0.5 * draws[place]
    return draws


def two_speeds(random: np.random.Generator, count: int) -> Floats:
    """Each session at one of two speeds 10 % apart, with noise of 1 %."""
    return STEP * random.integers(0, 2, count) + 0.01 * noise(random, count)


def one_outlier(random: np.random.Generator, count: int) -> Floats:
    """Noise and, at any place, one session slower by 10 %, 65 % or 640 %."""
    logs = NOISE * noise(random, count)
    logs[random.integers(count)] += random.choice([0.1, 0.5, 2.0])
    return logs


UNCHANGED: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "independent noise": lambda random, count: NOISE * noise(random, count),
    "AR(1) noise, 0.5": lambda random, count: NOISE * noise(random, count, 0.5),
    "two speeds 10 % apart": two_speeds,
    "independent noise, one outlier": one_outlier,
}


def false_alarms(trials: int) -> list[str]:
    """The share of series without a change in which one is found."""
    rows = []
    for name, draw in UNCHANGED.items():
        random = np.random.default_rng(1)
        shares = (
            np.mean([bool(found_in(draw(random, count))) for _ in range(trials)])
            for count in LENGTHS
        )
        rows.append([name, *(f"{share:.1%}".replace("%", " %") for share in shares)])
    return markdown_table(("series", *(f"{count} sessions" for count in LENGTHS)), rows)


def ever(trials: int) -> list[str]:
    """The share of series in which a look after each new session ever finds a change."""
    rows = []
    for correlation in (0.0, 0.5):
        random = np.random.default_rng(2)
        found = []
        for _ in range(trials):
            logs = NOISE * noise(random, max(LENGTHS), correlation)
            looks = range(FEWEST, len(logs) + 1)
            first = next((count for count in looks if found_in(logs[:count])), len(logs) + 1)
            found.append([first <= count for count in LENGTHS])
        shares = (f"{share:.1%}".replace("%", " %") for share in np.mean(found, axis=0))
        rows.append(
            [f"AR(1) noise, {correlation}" if correlation else "independent noise", *shares]
        )
    return markdown_table(("looked at after each", *(f"up to {count}" for count in LENGTHS)), rows)


def power(trials: int) -> list[str]:
    """The share of steps that are found, with their place within `PLACE` sessions."""
    cases = [
        ("+4 %, +4 %, 15 sessions each, noise 1.5 %", np.log(1.04), (15, 15, 15), 0.015, 0.0),
        *((f"+10 %, {n} before, 6 since", STEP, (n, WITHIN), NOISE, 0.0) for n in (15, 30, 100)),
        ("+10 %, 30 before, 15 since, AR(1) 0.5", STEP, (30, 15), NOISE, 0.5),
        ("+5 %, 30 before, 30 since", np.log(1.05), (30, 30), NOISE, 0.0),
        ("+5 %, 30 before, 30 since, AR(1) 0.5", np.log(1.05), (30, 30), NOISE, 0.5),
    ]
    rows = []
    for name, step, lengths, spread, correlation in cases:
        random = np.random.default_rng(3)
        places = np.cumsum(lengths)[:-1]
        level = np.repeat(step * np.arange(len(lengths)), lengths)
        some, near = [], []
        for _ in range(trials):
            found = found_in(level + spread * noise(random, len(level), correlation))
            some.append(bool(found))
            near.append(all(any(abs(p - f) <= PLACE for f in found) for p in places))
        shares = (f"{np.mean(hits):.1%}".replace("%", " %") for hits in (some, near))
        rows.append([name, *shares])
    return markdown_table(("step, noise 2 %", "flagged", f"each place within {PLACE}"), rows)


def beside_ruptures(trials: int) -> str:
    """How often `ruptures`, which has to be installed, cuts a series at the same places."""
    import ruptures

    random, alike, changed = np.random.default_rng(4), 0, 0
    for _ in range(trials):
        level = STEP * (np.arange(60) >= random.integers(10, 50)) * random.integers(0, 2)
        logs = level + NOISE * noise(random, 60, 0.5 * random.integers(0, 2))
        penalty = 30 * NOISE**2
        model = ruptures.KernelCPD(kernel="linear", min_size=FEWEST // 2).fit(logs[:, np.newaxis])
        ours, theirs = cut(logs, penalty), [0, *model.predict(pen=penalty)[:-1]]
        alike += ours == theirs
        changed += len(ours) > 1
    return f"ruptures: the same places in {alike} of {trials} series, {changed} of them with a cut"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="series of each kind")
    parser.add_argument("--ruptures", action="store_true", help="only compare with ruptures")
    asked = parser.parse_args()
    trials = asked.trials
    if asked.ruptures:
        sys.stdout.write(beside_ruptures(trials) + "\n")
        return
    tables = [false_alarms(trials), ever(max(trials // 5, 1)), power(trials)]
    sys.stdout.write("\n\n".join("\n".join(table) for table in tables) + "\n")


if __name__ == "__main__":
    main()
