"""The newest saved session among the data of the tests, and files made of it."""

import copy
import json
from datetime import datetime, timezone
from pathlib import Path

from cnnprec.records.record import SCHEMA_VERSION

DATA = Path(__file__).parents[1] / "data"
NEWEST = DATA / f"session-schema-{SCHEMA_VERSION}.json"
TEXT = NEWEST.read_text()
SAVED = json.loads(TEXT)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def changed(**block) -> dict:
    """The saved session, free to be changed."""
    plain = copy.deepcopy(SAVED)
    plain["cnnprec"].update(block)
    return plain


def with_whole_records(plain: dict) -> dict:
    """The session, in which each record again holds what `take_common` took out of all."""
    common = plain["cnnprec"].pop("common")
    for benchmark in plain["benchmarks"]:
        record = benchmark["extra_info"]["cnnprec"]
        benchmark["extra_info"]["cnnprec"] = {**copy.deepcopy(common), **record}
    return plain


def put(path: Path, content: dict | str | bytes) -> Path:
    if isinstance(content, dict):
        content = json.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
