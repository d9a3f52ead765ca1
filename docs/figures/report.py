"""Makes report.png: the page of the newest saved session, in headless Chromium at half its size.

Run it as ``python -m docs.figures.report``.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

from cnnprec.cli.main import main
from tests.support.browser import picture

HERE = Path(__file__).parent
SESSIONS = sorted((HERE.parents[1] / "benchmarks" / "baselines").glob("*/*.json"))

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = main(["report", "--html", str(folder), *map(str, SESSIONS)])
        if code == 0:
            page = folder / "report.html"
            picture(page, folder, folder / "whole.png", 1280, 3010, dark=False)
            small = Image.open(folder / "whole.png").reduce(2)
            few = small.convert("RGB").quantize(192, Image.Quantize.FASTOCTREE)
            few.save(HERE / "report.png", optimize=True)
    sys.exit(code)
