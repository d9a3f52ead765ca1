"""The options, their checks, and the header that shows them."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cnnprec
from cnnprec.machine.cpu import usable_cores
from cnnprec.machine.gpu import query_gpus
from cnnprec.machine.names import check_device_name
from cnnprec.measurement.supported import LEVELS, check_batch, check_device, supported_precisions
from cnnprec.precision.hyperparameters import check_precision
from cnnprec.precision.precisions import (
    PRECISIONS,
    format_precisions,
    parse_precisions,
    with_and_without_xla,
)
from cnnprec.pytest_plugin.every_gpu import EVERY_GPU
from cnnprec.pytest_plugin.saving import baseline_folder, check_outputs
from cnnprec.pytest_plugin.session import ASKED, MARKS, SESSION, Asked, Session, usage_errors
from cnnprec.pytest_plugin.settings import LEVEL_ROWS, apply_level, checked, level_help, read
from cnnprec.pytest_plugin.verdicts import check_baseline
from cnnprec.text import parse_time, reported
from cnnprec.verdicts.comparability import parse_vary
from cnnprec.verdicts.limits import read_limits
from cnnprec.verdicts.verdict import DEFAULT_MARGIN, DEFAULT_TOLERANCE, Limits, parse_share
from cnnprec.workload import fashion_mnist
from cnnprec.workload.load_dataset import DATASET_CHOICES
from cnnprec.workload.profiles import JIT_CHOICES, PROFILES, STRATEGIES, TrainingConfig


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Adds the group "cnnprec"; the defaults are those of the project's pyproject.toml."""
    group = parser.getgroup("cnnprec", "training precision benchmarks")
    config: Any = pluginmanager.get_plugin("pytestconfig")
    settings = read(config)

    def add(option: str, **attributes: Any) -> None:
        name = option.removeprefix("--")
        if name in settings:
            with usage_errors(f"pyproject.toml: [tool.cnnprec]: {name} = {settings[name]!r}: "):
                attributes["default"] = checked(settings[name], attributes)
        group.addoption(option, **attributes)

    _add_measuring(add)
    _add_comparing(add)


def _add_measuring(add: Callable[..., None]) -> None:
    amounts = [
        f"{name}: {p.train_samples} images x {p.epochs} epochs x {p.runs} runs"
        for name, p in PROFILES.items()
    ]
    text = f"comma list of {', '.join(PRECISIONS)} (default: all that the device supports)"
    add("--precision", type=reported(parse_precisions), metavar="NAMES", help=text)
    text = f"how much to train: {'; '.join(amounts)} (default: quick)"
    add("--profile", choices=list(PROFILES), default="quick", help=text)
    for name, what in (
        ("epochs", "epochs per run"),
        ("runs", "runs per precision"),
        ("batch-size", "images per step"),
        ("train-samples", "training images"),
        ("turns", "short timed turns that are compared, 0 to compare whole runs"),
    ):
        add(f"--{name}", type=int, metavar="N", help=f"{what} (default: the profile's)")
    text = "auto: Fashion-MNIST if it can be had, else synthetic (default); fashion-mnist: or fail"
    add("--dataset", choices=DATASET_CHOICES, default="auto", help=text)
    text = "folder with Fashion-MNIST's four IDX .gz files"
    add("--data-dir", type=Path, metavar="DIR", help=text)
    text = (
        "auto: the first GPU, else the CPU (default); cpu, gpu or gpu:N: that one or an error; "
        "all: every GPU in turn, each in a process of its own; all-at-once: side by side"
    )
    device = functools.partial(check_device_name, more=EVERY_GPU)
    add("--device", type=reported(device), default="auto", help=text)
    text = "XLA: auto: Keras' rule (default); best: the faster by precision; both: NAME, NAME_xla"
    add("--jit", choices=JIT_CHOICES, default="auto", help=text)
    text = "what shares each batch: mirrored: this host's GPUs; multiworker: those of several hosts"
    add("--strategy", choices=STRATEGIES, default="none", help=text)
    text = (
        "what is asked of the numbers: every operation and the first steps, in a few seconds "
        "(quick, default), with the long sums too (full, to accept a machine), nothing (off)"
    )
    add("--numerics", choices=LEVELS, help=text)
    text = (
        "take the same steps again and again for TIME, such as 10m or 8h, shared by the "
        "precisions, and compare every bit"
    )
    add("--soak", type=reported(parse_time), metavar="TIME", help=text)
    text = "measure what the device can do, and how far each precision is from it (15 s or more)"
    add("--device-limits", action="store_true", help=text)
    text = f"how thorough, where these are not given: {level_help()}"
    add("--level", choices=list(LEVEL_ROWS), help=text)
    text = "seed of the order of the benchmarks (default: a new one, shown in the header)"
    add("--order-seed", type=int, metavar="N", help=text)


def _add_comparing(add: Callable[..., None]) -> None:
    text = (
        "with --benchmark-compare: only these may differ from the baseline, such as driver or "
        "tensorflow,keras (default: all of the software may differ; it is listed)"
    )
    add("--vary", type=reported(parse_vary), metavar="NAMES", help=text)
    text = "with --benchmark-compare: INCONCLUSIVE counts as a failure"
    add("--require-verdict", action="store_true", help=text)
    text = "with --benchmark-compare: write the verdicts with all figures to FILE"
    add("--verdict-json", type=Path, metavar="FILE", help=text)
    text = "write a page for a browser and Markdown on the session: DIR/report.html, DIR/report.md"
    add("--report", type=Path, metavar="DIR", help=text)
    for name, default, what in (
        ("tolerance", DEFAULT_TOLERANCE, "slowdown up to which no failure is called"),
        ("margin", DEFAULT_MARGIN, "slowdown that must be excluded for a PASS"),
        ("detect", None, "slowdown that the baseline has to find"),
    ):
        usual = "the margin" if default is None else f"{default * 100:g}%%"
        text = f"with --benchmark-compare: {what}, such as 3%% or 0.03 (default: {usual})"
        share = reported(parse_share)
        add(f"--{name}", type=share, default=default, metavar="SHARE", help=text)


@pytest.hookimpl(tryfirst=True)
@usage_errors()
def pytest_configure(config: pytest.Config) -> None:
    """Checks the options; runs before pytest-benchmark reads its own."""
    for mark, what in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {what}")
    option = config.option
    apply_level(option)
    config.stash[SESSION] = _session(config)
    usual = Limits(option.tolerance, option.margin)
    asked = config.stash[ASKED] = Asked(read_limits(config.rootpath / "pyproject.toml", usual))
    if config.pluginmanager.hasplugin("benchmark"):
        asked.folder = baseline_folder(config)
        check_outputs(config, asked.folder)
        _take_comparing_over(config, asked)
    if option.soak and getattr(option, "benchmark_only", False):
        raise ValueError("--benchmark-only would skip what --soak asks for; leave it out")
    if option.soak and option.strategy != "none":
        raise ValueError("--soak compares one device with itself; leave out --strategy")
    for name in () if asked.comparing else ("vary", "require-verdict", "verdict-json"):
        given = getattr(option, name.replace("-", "_")) not in (None, False)
        if given and name not in read(config):
            raise ValueError(f"--{name} needs --benchmark-compare: there is no verdict without it")
    check_device(option.device)
    # TensorFlow reports at length that there is no GPU; where NVML knows none, that is no news.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if query_gpus() else "3")


def _session(config: pytest.Config) -> Session:
    option = config.option
    given = ("epochs", "runs", "batch_size", "train_samples", "turns", "jit", "strategy")
    training = PROFILES[option.profile].override(**{n: getattr(option, n) for n in given})
    _check_work(option, training)
    precisions = option.precision or supported_precisions(option.device)
    if training.jit == "both":
        precisions = with_and_without_xla(precisions)
    check_batch(precisions, training.batch_size, option.device)
    seed = getattr(config, "workerinput", {}).get("order_seed", option.order_seed)
    return Session(
        config=training,
        precisions=precisions,
        dataset_choice=option.dataset,
        data_dir=option.data_dir,
        device_choice=option.device,
        order_seed=training.order_seed() if seed is None else seed,
        numerics=option.numerics or "quick",
        limits=option.device_limits,
    )


def _check_work(option: Any, training: TrainingConfig) -> None:
    """Refuses what needs no device to be refused, before TensorFlow is loaded."""
    if option.dataset == "synthetic":
        return
    most = fashion_mnist.TRAIN_SIZE
    if option.data_dir or os.environ.get(fashion_mnist.DATA_DIR_VARIABLE):
        fashion_mnist.find_fashion_mnist(option.data_dir)  # or a ValueError
    found = option.dataset == "fashion-mnist" or fashion_mnist.locate_fashion_mnist(option.data_dir)
    if found and training.train_samples > most:
        raise ValueError(
            f"--train-samples {training.train_samples}: Fashion-MNIST has {most} training images; "
            "give at most that, or --dataset synthetic"
        )


def _take_comparing_over(config: pytest.Config, asked: Asked) -> None:
    option = config.option
    if option.benchmark_compare_fail:
        raise ValueError(
            "--benchmark-compare-fail judges the rounds of one process, which raises false alarms "
            "and misses changes. Use --benchmark-compare with --tolerance and --margin, such as "
            "--tolerance 5% --margin 15%."
        )
    wanted, worker = option.benchmark_compare, hasattr(config, "workerinput")
    if not wanted:
        return
    option.benchmark_compare = []  # or pytest-benchmark would compare with the latest file
    asked.comparing = True
    asked.pattern = None if wanted is True else wanted
    if asked.pattern and os.path.isdir(asked.pattern):  # noqa: PTH112 - it may be of any length
        raise ValueError(
            f"--benchmark-compare took {asked.pattern} for the sessions to compare with. "
            "Write the option last, or give it a number or a name: --benchmark-compare=0003"
        )
    untimed = "nothing would be timed; leave one of the two out"
    for name, given, why in (
        ("--benchmark-disable", option.benchmark_disable and not option.benchmark_enable, untimed),
        ("--benchmark-skip", option.benchmark_skip and not option.benchmark_only, untimed),
        ("--benchmark-only", option.benchmark_only, "it would skip the verdicts; leave it out"),
        ("-n", getattr(option, "dist", "no") != "no", untimed),
    ):
        if given and not worker:
            raise ValueError(f"--benchmark-compare and {name} exclude each other: {why}")
    if asked.folder is not None and not (option.collectonly or worker):
        check_baseline(asked.folder, asked.pattern)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Gives pytest-xdist's workers the order of this process; they have to agree on one."""
    node.workerinput["order_seed"] = node.config.stash[SESSION].order_seed


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what benchmarks would train, and warns before minutes are spent on a busy machine."""
    session = config.stash[SESSION]
    training = session.config
    load, cores = os.getloadavg()[0], usable_cores()
    busy = f"BUSY: the load average is {load:.1f} on {cores} cores; other work makes times noisy"
    return [
        f"cnnprec {cnnprec.__version__}: profile {training.profile}, "
        f"{training.train_samples} images x {training.epochs} epochs x {training.runs} runs, "
        f"batch {training.batch_size}, device {session.device_choice}, jit {training.jit}, "
        f"strategy {training.strategy}, order seed {session.order_seed}",
        f"precisions: {format_precisions(session.precisions)}",
        f"dataset: {_dataset_announcement(session)}",
        *([busy] if load > cores else []),
        *(
            f"{precision.name}: {finding.message}"
            for precision in session.precisions
            for finding in check_precision(precision)
        ),
    ]


def _dataset_announcement(session: Session) -> str:
    if session.dataset_choice == "synthetic":
        return "the SYNTHETIC stand-in, not Fashion-MNIST"
    folder = fashion_mnist.locate_fashion_mnist(session.data_dir)
    if folder is not None:
        return f"Fashion-MNIST from {folder}"
    last = "the SYNTHETIC stand-in" if session.dataset_choice == "auto" else "an error"
    return f"Fashion-MNIST is not on this machine: download by Keras, and if that fails {last}"
