"""Whether something else slowed a session down while it was measured."""

from collections.abc import Iterable

from cnnprec.records.record import Record

SLOW = 1.5  # a time beyond so many times the lower quartile of its precision
SHARE = 0.1  # of a precision's times that have to be slow


def disturbance(records: Iterable[Record]) -> str | None:
    """A clause on the precision whose turns, or else runs, most clearly have two speeds."""
    found = []
    for record in records:
        seconds = record.turns.seconds if record.turns else [r.seconds for r in record.rounds]
        times = sorted(filter(None, seconds))
        usual = times[len(times) // 4] if times else 0.0
        slow = sum(value > SLOW * usual for value in times)
        if slow > 0 and slow >= SHARE * len(times):
            text = f"{slow} of {len(times)} times, up to {times[-1]:.2f} s instead of {usual:.2f} s"
            found.append((slow / len(times), f"{record.precision} was slow in {text}"))
    return max(found)[1] if found else None
