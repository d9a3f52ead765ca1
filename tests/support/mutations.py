"""Records in which one thing is another, for the tests of what may be compared."""

import dataclasses
from typing import Any

from cnnprec.precision.precisions import Precision
from cnnprec.records.record import DataInfo, Environment, Record
from cnnprec.workload.profiles import TrainingConfig

OWNERS = {
    "environment": Environment,
    "config": TrainingConfig,
    "data": DataInfo,
    "precision": Precision,
}
PATHS = [
    f"{owner}.{field.name}" for owner, kind in OWNERS.items() for field in dataclasses.fields(kind)
]
PATHS.append("companions")

NOT_COMPARED = {
    "data.source": "a folder; the digest says whether the images are the same",
    "environment.commit": "shown beside the code's digest; a commit that touches only documents "
    "changes nothing that is measured",
    "environment.host": "a name for people; another machine of the same kind is as good",
    "environment.gpu_uuid": "likewise",
}
"""The fields that the comparison leaves out on purpose, each with the reason."""

"""All that a record says of machine, work and software, such as ``"environment.driver"``."""


def other(value: Any, annotation: str) -> Any:
    """A value of the annotated type unlike this one."""
    if value is None and "str" not in annotation:
        return 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 30  # turns may be 0, or 10 and more; a batch of 62 fits 64 images
    if isinstance(value, tuple):
        return (*value, "avx11" if annotation.startswith("tuple[str") else ("epsilon", 0.5))
    return {"auto": "off", "none": "mirrored"}.get(value, f"other {value}")


def changed(record: Record, path: str) -> Record:
    """The record with one field of `PATHS` put to another value."""
    owner, _, name = path.partition(".")
    if not name:
        return dataclasses.replace(record, **{owner: (*getattr(record, owner), "other")})
    part = getattr(record, owner)
    (annotation,) = (field.type for field in dataclasses.fields(part) if field.name == name)
    value = other(getattr(part, name), str(annotation))
    part = dataclasses.replace(part, **{name: value})
    return dataclasses.replace(record, **{owner: part})
