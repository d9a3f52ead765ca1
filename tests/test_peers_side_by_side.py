"""The program behind docs/peers.md: processes that train by turns."""

import sys

import numpy as np
import pytest

from docs.peers.__main__ import OURS, by_turns, peer, rows

READY = "import sys; print('ready', flush=True)\n"
ANSWERS = READY + "for line in sys.stdin: print({seconds} * int(line), flush=True)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_step_is_the_time_of_a_turn_over_its_steps():
    with peer(python(ANSWERS.format(seconds=0.25))) as one:
        assert one.problem == ""
        assert [one.step_seconds(steps) for steps in (1, 40)] == [0.25, 0.25]


def test_what_cannot_train_says_why():
    with peer(python("from docs.peers.child import serve; serve(lambda: 1 / 0)")) as one:
        assert one.problem == "ZeroDivisionError: division by zero"
    with peer(python("raise SystemExit(1)")) as one:
        assert one.problem == "the process ended"


def test_what_ends_in_the_middle_is_named():
    with (
        peer(python(f"{READY}sys.stdin.readline()")) as one,
        pytest.raises(RuntimeError, match=r"readline\(\) ended in the middle; run it alone"),
    ):
        one.step_seconds(3)


class Noted:
    """Takes steps of a planned time and notes whose turn it was."""

    def __init__(self, name: str, seconds: float, turns: list[tuple[str, int]]) -> None:
        self.name, self.seconds, self.turns = name, seconds, turns

    def step_seconds(self, steps: int) -> float:
        self.turns.append((self.name, steps))
        return self.seconds


def test_every_round_has_a_turn_of_each_and_turns_are_alike_in_time():
    turns: list[tuple[str, int]] = []
    peers = {"a": Noted("a", 0.01, turns), "b": Noted("b", 0.1, turns), "c": Noted("c", 9, turns)}
    times = by_turns(peers, rounds=4, seconds=2, most=150)
    assert times == {"a": [0.01] * 4, "b": [0.1] * 4, "c": [9] * 4}
    timed = turns[-12:]
    for first in range(0, 12, 3):
        assert sorted(timed[first : first + 3]) == [("a", 150), ("b", 20), ("c", 3)]
    assert len({tuple(timed[first : first + 3]) for first in range(0, 12, 3)}) > 1


def test_ratios_are_those_of_a_round():
    times = {OURS: [1.0, 2.0, 4.0], "other": [2.0, 6.0, 8.0]}
    assert rows("half", times) == [
        ("half", OURS, "2000.0", "1.00", "1.00 to 1.00"),
        ("half", "other", "6000.0", "2.00", "2.00 to 3.00"),
    ]


@pytest.mark.parametrize(("way", "name"), [("notebook", "mixed_half"), ("suite", "single")])
def test_ours_train_by_turns(way, name, tmp_path):
    path = tmp_path / "images.npz"
    images = np.zeros((128, 28, 28, 1), np.uint8)
    np.savez(path, images=images, labels=np.zeros(128, np.uint8))
    with peer([sys.executable, "-m", "docs.peers.ours", way, name, "32", str(path)]) as one:
        assert one.problem == ""
        assert one.step_seconds(2) > 0
