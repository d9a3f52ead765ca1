"""No image file that was altered is accepted: it is refused by name, or holds what it held."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnnprec.workload.dataset import DatasetError
from cnnprec.workload.fashion_mnist import read_fashion_mnist
from tests.support.fashion_mnist import SmallSet

MUTANTS = 1_000
FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


def mutant(content: bytes, dice: random.Random) -> bytes:
    """The content with some of it changed, lost, doubled or added."""
    start = dice.randrange(len(content))
    end = min(len(content), start + dice.choice([1, 1, 2, 9, 1000]))
    inside = bytearray(content[start:end])
    how = dice.randrange(6)
    if how == 0:
        inside[0] ^= 1 << dice.randrange(8)
    elif how == 1:
        inside = bytearray(dice.randbytes(len(inside)))
    elif how == 2:
        inside *= 2
    elif how == 3:
        return content[:start]
    elif how == 4:
        return content + content[start:]
    else:
        inside.clear()
    return content[:start] + bytes(inside) + content[end:]


def mutants(files: dict[Path, bytes], dice: random.Random) -> Iterator[Path]:
    """Gives the file that has been altered, a thousand times."""
    for _ in range(MUTANTS):
        path = dice.choice(list(files))
        path.write_bytes(mutant(files[path], dice))
        yield path
        path.write_bytes(files[path])


def test_mutants_are_refused_by_name_or_hold_what_they_held(tmp_path, monkeypatch):
    small = SmallSet()
    small.install(monkeypatch)
    small.write(tmp_path)
    whole = read_fashion_mnist(tmp_path, None, None)
    files = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    reasons = []
    for path in mutants(files, random.Random(12)):  # noqa: S311
        try:
            found = read_fashion_mnist(tmp_path, None, None)
        except DatasetError as error:
            reasons.append((str(path) in str(error), str(error).isprintable()))
        else:  # such as another date in gzip's header
            for name in FIELDS:
                assert np.array_equal(getattr(found, name), getattr(whole, name)), path
    assert set(reasons) == {(True, True)}
    assert len(reasons) > MUTANTS * 0.9
