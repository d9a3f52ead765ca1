"""The page in headless Chromium, at the width of a telephone and of a desk, light and dark."""

import pytest

pytest.importorskip("jinja2")

from cnnprec.records.read_sessions import read_session
from cnnprec.reports.page import PAGE, Report, write_report
from tests.support import sessions
from tests.support.browser import CHROMIUM, WIDTHS, look

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; install it, such as apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    session = read_session(sessions.NEWEST)
    write_report(folder, Report(list(session.records.values()), saved_at=session.saved_at))
    return folder / PAGE


@pytest.mark.parametrize(
    ("dark", "back"), [(False, "rgb(255, 255, 255)"), (True, "rgb(13, 17, 23)")]
)
def test_page_fits_and_its_console_is_quiet(page, tmp_path, dark, back):
    found, console = look(page, tmp_path, dark=dark)
    assert console == []
    for width, seen in zip(WIDTHS, found, strict=True):
        assert seen["width"] == width
        assert seen["height"] > 1000
        assert seen["back"] == back
        assert len(seen["pictures"]) >= 3
        assert all(260 <= drawn <= width for drawn in seen["pictures"])
        assert seen["ink"] in seen["strokes"]  # the axes have the colour of the text


def test_page_that_is_too_wide_or_complains_is_found(page, tmp_path):
    broken = tmp_path / "broken.html"
    text = page.read_text().replace("</main>", '<p style="width: 2000px">x</p></main>')
    broken.write_text(text.replace("</body>", "<script>alert(1)</script></body>"))
    found, console = look(broken, tmp_path)
    assert [seen["width"] > width for seen, width in zip(found, WIDTHS, strict=True)] == [True] * 2
    assert any("Content Security Policy" in line for line in console)
