"""Makes the figures of docs/histograms.md and prints their tables.

Run it as ``python -m docs.figures.binades``. It trains the first step of each precision.
"""

import sys
from pathlib import Path

from cnnprec.diagnosis.histograms import first_step
from cnnprec.precision.precisions import parse_precisions
from cnnprec.reports.figures import binades
from cnnprec.reports.svg import file
from cnnprec.text import markdown_table
from cnnprec.training.trainer import Trainer
from cnnprec.workload.load_dataset import load_dataset
from cnnprec.workload.profiles import get_profile

HERE = Path(__file__).parent
NAMES = "single,half,mixed_half,bfloat16,half_stable,bfloat16_stable"
FILES = ("gradients.svg", "second-moments.svg")  # the weights are in a table only

if __name__ == "__main__":
    config = get_profile("quick")
    sizes = {"train_samples": config.train_samples, "test_samples": config.test_samples}
    dataset = load_dataset("fashion-mnist", **sizes)
    counted = []
    for precision in parse_precisions(NAMES):
        trainer = Trainer(precision, config, dataset)
        trainer.warm_up()
        counted.append((precision, first_step(trainer)))
    charts = binades(counted)
    for name, made in zip(FILES, charts, strict=False):
        (HERE / name).write_text(file([(made.title, made.svg)]))
    for made in charts:
        headings, *rows = made.table
        sys.stdout.write("\n".join([made.title, "", *markdown_table(headings, rows), "", ""]))
