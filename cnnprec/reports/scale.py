"""Where values stand on an axis, and which of them are named."""

import dataclasses
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Scale:
    """An axis from one finite value to a larger one; both are positive if it is logarithmic."""

    low: float
    high: float
    start: float  # the place of the lowest value
    end: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> "Scale":
        """A linear scale with some room on both sides of one or more values."""
        low, high = min(found := [*values]), max(found)
        room = 0.05 * (high - low) or 0.05 * abs(low) or 0.5
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """The place of a value; of one beyond the ends the end."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """At most ten round values on the axis."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            digits = (1, 2, 5) if last - first < 5 else (1,)
            marks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
            marks = [mark for mark in marks if self.low <= mark <= self.high]
            return marks[:: len(marks) // 9 + 1]
        span = self.high - self.low
        unit = 10.0 ** (math.floor(math.log10(span)) - 1)
        step = next(times * unit for times in (2, 5, 10, 20) if span / (times * unit) <= 6)
        return [n * step for n in range(math.ceil(self.low / step), int(self.high // step) + 1)]
