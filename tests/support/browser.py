"""A page in headless Chromium, where there is one: how wide it is, and what its console says."""

import json
import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
WIDTHS = (390, 1280)
# A window is never as narrow as a telephone, so the page is shown in frames.
FRAMES = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="seen" hidden></pre>
<script>onload = () => {{
  seen.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map((frame) => {{
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
    return {{
      width: page.documentElement.scrollWidth,
      height: page.documentElement.scrollHeight,
      back: style.backgroundColor,
      ink: style.color,
      pictures: [...page.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width),
      strokes: [...page.querySelectorAll("svg path")].map(
        (path) => frame.contentWindow.getComputedStyle(path).stroke),
    }};
  }}));
}}</script>{frames}"""


def command(folder: Path, *options: str, dark: bool = False) -> list[str]:
    return [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--allow-file-access-from-files", "--enable-logging=stderr"),
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        *options,
    ]


def framed(page: Path, folder: Path, widths: tuple[int, ...], height: int = 800) -> str:
    """The address of a page that shows this one at these widths, one below the other."""
    style = "border:0;display:block"
    frames = [
        f'<iframe src="{page.as_uri()}" width="{w}" height="{height}" style="{style}"></iframe>'
        for w in widths
    ]
    path = folder / "frames.html"
    path.write_text(FRAMES.format(frames="".join(frames)))
    return path.as_uri()


def look(page: Path, folder: Path, *, dark: bool = False) -> tuple[list[dict], list[str]]:
    """What the page is like at each of `WIDTHS`, and the lines of its console."""
    done = subprocess.run(
        [*command(folder, "--dump-dom", dark=dark), framed(page, folder, WIDTHS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    seen = re.search(r'<pre id="seen"[^>]*>(.+?)</pre>', done.stdout)
    assert seen, done.stdout[:500] + done.stderr[-500:]
    return json.loads(seen[1]), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def picture(page: Path, folder: Path, out: Path, width: int, height: int, *, dark: bool) -> None:
    """Writes a PNG of the upper part of the page at this width."""
    size = f"--window-size={max(width, 500)},{height}"
    address = framed(page, folder, (width,), height)
    subprocess.run(
        [*command(folder, size, f"--screenshot={out}", dark=dark), address],
        capture_output=True,
        check=True,
        timeout=120,
    )
