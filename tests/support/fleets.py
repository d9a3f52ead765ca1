"""Fleets made by hand: a session for each host, with the noise of one machine."""

import dataclasses
import random

from cnnprec.machine.gpu_state import GpuState
from cnnprec.records.numerics import Numerics, ProbeGroup
from cnnprec.records.read_sessions import SavedSession
from cnnprec.records.record import Record
from tests.support.histories import on_gpu, session
from tests.support.saved import saved

NAMES = ("single", "half")
NUMERICS = Numerics(
    "quick", (ProbeGroup("conv2d.forward", 0.4, 0.001, "a" * 8),), (), (), (), (), 0
)


def host(factor: float = 1.0, names=NAMES, **change) -> dict[str, Record]:
    """What one host measured; `change` holds fields of its runs and rounds."""
    made = {n: r for name in names for n, r in session(factor, name=name, **change).items()}
    return {
        name: dataclasses.replace(
            r, numerics=NUMERICS, companions=tuple(sorted(set(names) - {name}))
        )
        for name, r in made.items()
    }


def fleet(
    count: int, noise: float = 0.01, seed: int = 1, **hosts: dict[str, Record]
) -> dict[str, list[SavedSession]]:
    """So many good hosts, of which some are replaced by what is given."""
    dice = random.Random(seed)  # noqa: S311
    made = {
        f"host{n:02}": {
            name: dataclasses.replace(
                r,
                rounds=tuple(
                    dataclasses.replace(e, seconds=e.seconds * dice.lognormvariate(0, noise))
                    for e in r.rounds
                ),
            )
            for name, r in host(dice.lognormvariate(0, noise)).items()
        }
        for n in range(count)
    }
    return {
        name: [saved(place, records, name=name)]
        for place, (name, records) in enumerate({**made, **hosts}.items())
    }


def wrong_operation() -> dict[str, Record]:
    """A host whose convolution is over its bound in float32."""
    made = host()
    sentence = "conv2d.forward[float32]: error 3.1 of its bound"
    groups = (ProbeGroup("conv2d.forward", 3.1, 0.001, "b" * 8),)
    wrong = dataclasses.replace(NUMERICS, probes=groups, wrong=(sentence,))
    return {**made, "single": dataclasses.replace(made["single"], numerics=wrong)}


def faulty_gpu(**state) -> dict[str, Record]:
    """A GPU that reported something during its rounds."""
    whole = {"throttled": (), "new_ecc_errors": 0, "xid_errors": (), "temperature_celsius": 60}
    whole |= {"sm_clock_mhz": 1500, "power_watts": 250.0, **state}
    return on_gpu(host(state=GpuState(**whole)))
