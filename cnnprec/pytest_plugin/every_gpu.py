"""``--device all``: a session for each GPU, in a process of its own."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnprec.ab.processes import PYTEST, Children, InterruptError, status_text
from cnnprec.machine.gpu import query_gpus
from cnnprec.pytest_plugin.saving import baseline_folder

EVERY_GPU = ("all", "all-at-once")  # in turn, side by side
_OUTPUTS = (
    *("--basetemp", "--benchmark-csv", "--benchmark-histogram", "--benchmark-json"),
    *("--junit-xml", "--log-file", "--report", "--verdict-json"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Runs a session on every GPU; returns 1 if one of them did, else the largest exit code."""
    option, in_turn = config.option, config.option.device == "all"
    if option.device not in EVERY_GPU or option.help or option.version:
        return None
    gpus, ended = query_gpus(), list[int]()
    if not gpus:
        raise pytest.UsageError(
            f"--device {option.device}: NVML tells of no GPU. Check the driver with nvidia-smi, "
            "name a GPU that is there without NVML (--device gpu:0), or use --device cpu."
        )
    with contextlib.ExitStack() as opened, Children() as children:
        files = [opened.enter_context(tempfile.NamedTemporaryFile("w+")) for _ in gpus]
        outputs = [sys.stdout if in_turn else file for file in files]
        jobs = list(zip(_commands(config, len(gpus)), outputs, strict=True))
        if not in_turn:
            sys.stderr.write(f"output meanwhile: {' '.join(file.name for file in files)}\n")
        with contextlib.suppress(InterruptError):
            for batch in [[job] for job in jobs] if in_turn else [jobs]:
                ended += children.run_together(batch, str(config.invocation_params.dir))
        for file in files:
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout)
    for place, (gpu, status) in enumerate(zip(gpus, ended, strict=False)):
        sys.stdout.write(f"gpu:{place}, {gpu.model}, {gpu.uuid}: {status_text(status)}\n")
    if len(ended) < len(gpus):
        sys.stdout.write("interrupted; sessions that were saved are kept\n")
        return pytest.ExitCode.INTERRUPTED
    codes = [128 - status if status < 0 else status for status in ended]
    return 1 if 1 in codes else max(codes)


def _commands(config: pytest.Config, count: int) -> Iterator[list[str]]:
    """The command line for each GPU: what was given, with ``-gpuN`` in the name of each output."""
    option, given = config.option, list(map(str, config.invocation_params.args))
    end = given.index("--") if "--" in given else len(given)
    storage = option.benchmark_storage
    for index in range(count):
        option.device, option.benchmark_storage = f"gpu:{index}", storage
        own = [f"--device=gpu:{index}"]
        if folder := baseline_folder(config):
            own.append(f"--benchmark-storage=file://{folder}-gpu{index}")
        for name in _OUTPUTS:
            if value := config.getoption(name, None):
                path = Path(value)
                own.append(f"{name}={path.parent / f'{path.stem}-gpu{index}{path.suffix}'}")
        yield [*PYTEST, *given[:end], *own, *given[end:]]
