"""Whether something else slowed a session down while it was measured."""

from collections.abc import Collection

from cnnprec.records.record import Record
from cnnprec.text import count_of
from cnnprec.verdicts.case import gpu_states

SLOW = 1.5  # a time beyond so many times the lower quartile of its precision
SHARE = 0.1  # of a precision's times that have to be slow


def disturbance(records: Collection[Record]) -> str | None:
    """Clauses on the precision whose times most clearly have two speeds, and on the GPU."""
    found = []
    for record in records:
        seconds = record.turns.seconds if record.turns else [r.seconds for r in record.rounds]
        times = sorted(filter(None, seconds))
        usual = times[len(times) // 4] if times else 0.0
        slow = sum(value > SLOW * usual for value in times)
        if slow > 0 and slow >= SHARE * len(times):
            text = f"{slow} of {len(times)} times, up to {times[-1]:.2f} s instead of {usual:.2f} s"
            found.append((slow / len(times), f"{record.precision} was slow in {text}"))
    clauses = [max(found)[1]] if found else []
    states = gpu_states(records)
    if others := max((state.other_processes or 0 for state in states), default=0):
        clauses.append(f"{count_of(others, 'other program')} computed on the GPU")
    if reasons := dict.fromkeys(reason for state in states for reason in state.throttled):
        clauses.append(f"the GPU was slowed down ({', '.join(reasons)})")
    return "; ".join(clauses) or None
