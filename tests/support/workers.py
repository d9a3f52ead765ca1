"""Several workers on this host."""

import contextlib
import json
import socket
from typing import Any


def loopback(count: int) -> list[str]:
    """TF_CONFIG of each of so many workers, on ports that were free a moment ago."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    return [tf_config(addresses, index=index) for index in range(count)]


def tf_config(addresses: list[str], kind: str = "worker", index: Any = 0) -> str:
    """The TF_CONFIG of one of the workers at these addresses."""
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": kind, "index": index}})
