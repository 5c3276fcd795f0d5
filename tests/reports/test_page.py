"""Pages: texts stay texts, addresses lead to files, nothing comes from elsewhere. Sheets of pictures."""

import base64
import html as escaping
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from reports import page, plots
from reports.page import Cell, html
from utils import images

NAME = 'zoë\'s <b>"50%" & #1?.mp4'


@pytest.fixture(autouse=True)
def undrawn_plots() -> None:
    """Not here: plots are drawn."""


class Elements(HTMLParser):
    """The start tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict]:
        return [attributes for found, attributes in self.found if found == tag]


@pytest.fixture(scope="module")
def text() -> str:
    face = np.full((20, 30, 3), 90, np.uint8)
    drawn = {
        NAME: plots.lines({"one": [(0, 0.46855), (1, 0.46857)], NAME: [(0, 0.46856)]}, "step"),
        "bars": plots.bars([(0, 0.3, "good"), (1, 0.2, "unknown")], "second", "confidence"),
    }
    parts = [
        html.heading(NAME), html.text(NAME, "bad"), html.command(NAME),
        html.table([("", "empty", "score"), (NAME, "", Cell("1", "good", NAME))], {"score": "what it is"}),
        html.facts({"frames": 3, "empty": "", NAME: NAME}, {"frames": NAME}), html.legend([NAME, "?"], {NAME: NAME}),
        html.plots(drawn), html.picture(face, NAME, [NAME]), html.video(NAME, NAME),
        html.links({NAME: f"a b/{NAME}"}),
    ]  # fmt: skip
    return page.render(NAME, parts)


def test_texts_and_names_stay_texts_wherever_they_stand(text):
    assert "<b>" not in text
    assert NAME not in text
    assert escaping.unescape(text).count(NAME) >= 16


def test_a_page_asks_for_nothing_but_the_files_it_names_and_says_what_its_pictures_show(text):
    assert "http" not in text
    elements = Elements(text)
    (video,), (link,), images = elements.named("video"), elements.named("a"), elements.named("img")
    assert unquote(video["src"]) == NAME
    assert unquote(link["href"]) == f"a b/{NAME}"
    assert not re.search(r"[<>\"'#? ]", video["src"])
    assert len(images) == 3
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)


def test_axes_have_whole_steps_and_numbers_as_they_are_however_little_they_change(text):
    (drawing, _) = re.findall(r"data:image/svg\+xml;base64,([^\"]*)", text)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", base64.b64decode(drawing).decode())  # letters, not outlines
    assert {"0", "1", "0.468550", "0.468570"} <= set(texts)
    assert "0.5" not in texts


def test_a_sheet_has_labelled_rows_of_which_one_can_be_taken_out():
    rows = {name: [np.full((96, 96, 3), grey, np.uint8)] * 2 for name, grey in (("source", 10), ("result", 20))}
    sheet = images.labelled_rows(rows)
    assert sheet.shape == (2 * images.SIDE, images.LABEL_WIDTH + 2 * images.SIDE, 3)  # small pictures are enlarged
    assert sheet[: images.SIDE, : images.LABEL_WIDTH].max() > 200  # the text
    row = sheet[len(sheet) // 2 :, images.LABEL_WIDTH :]
    assert row.shape == (images.SIDE, 2 * images.SIDE, 3)
    assert (row == 20).all()
