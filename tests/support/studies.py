"""Points of a scaling study made by hand, and a stand-in for the processes that measure them."""

import json
import subprocess

import msgspec

from cnnprec.records.scaling import Point, Study

NOISE = (1.00, 1.01, 0.99, 1.00, 1.02, 0.98, 1.00, 1.01, 0.99, 1.00)  # of the turns


def point(precision="single", width=1, batch=32, seconds=1e-3, peak=800_000_000) -> Point:
    """A point whose turns spread by 1 %; that of another precision spreads the other way."""
    noise = NOISE if precision == "single" else NOISE[::-1]
    return Point(precision, width, batch, tuple(seconds * n for n in noise), peak)


def line(precision="mixed_half", ratios=(), width=1) -> Study:
    """Points of a precision over single by the batch, and single's own beside them."""
    points = []
    for batch, ratio in dict(ratios).items():
        points += [point(width=width, batch=batch), point(precision, width, batch, ratio * 1e-3)]
    return Study({}, tuple(points))


class FakeProcesses:
    """Measures nothing: a step takes 1 ms and 1 us an image, in half of it where not single.

    Attributes:
        asked: Width, batch and names of each process, in their order.
        ends: By width and batch how a process ends: an exit status, or ``"interrupt"``.
    """

    def __init__(self) -> None:
        self.asked = []
        self.ends = {}

    def run(self, command, **settings):
        names, config, _ = json.loads(command[3])
        place = (config["width"], config["batch_size"])
        self.asked.append((*place, names))
        end = self.ends.get(place, 0)
        if end == "interrupt":
            raise KeyboardInterrupt
        points = [
            point(name, *place, 1e-3 + place[1] * (1e-6 if name == "single" else 5e-7))
            for name in names.split(",")
        ]
        out = f"what a library says\n{msgspec.json.encode(points).decode()}\n"
        said = "what TensorFlow says\nDeviceError: no such device\n"
        return subprocess.CompletedProcess(command, end, "" if end else out, said)
