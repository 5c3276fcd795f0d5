"""Pages: texts stay texts, addresses lead to files, plots take the page's colours, nothing comes from elsewhere."""

import html
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from reports import page, plots

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


def all_parts() -> list[page.Part]:
    face = np.full((20, 30, 3), 90, np.uint8)
    bars = page.Plot(plots.bars([(0, 0.3, "good"), (1, 0.2, "unknown")], "second", "confidence"), "bars")
    plot = page.Plot(plots.lines({"one": [(0, 1), (1, 2)], "two": [(0, 2)]}, "step"), "two lines", NAME)
    return [
        page.Heading(NAME), page.Text(NAME, "bad"), page.Command(NAME),
        page.Table([("", "score"), (NAME, page.Cell("1", "good", NAME))], {"score": "what it is"}),
        page.Facts({"frames": 3, "empty": "", NAME: NAME}, {"frames": NAME}), page.Legend(NAME, {NAME: NAME}),
        page.Plots([plot, bars]),
        page.Picture(face, NAME, NAME, ["0.5 s", "1.5 s"], page.Plot(plots.waveform(np.ones(9)), "sound")),
        page.Rows({NAME: face, "true": face}, NAME), page.Video(NAME, NAME), page.Links({NAME: f"a b/{NAME}"}),
    ]  # fmt: skip


def test_texts_and_names_stay_texts_wherever_they_stand():
    text = page.render(NAME, all_parts())
    assert "<b>" not in text
    assert NAME not in text
    seen = html.unescape(text)
    assert seen.count(NAME) >= 16


def test_a_page_asks_for_nothing_but_the_files_it_names_and_these_are_found_by_their_addresses():
    text = page.render("all", all_parts())
    assert "http" not in text
    elements = Elements(text)
    (video,), (link,) = elements.named("video"), elements.named("a")
    assert unquote(video["src"]) == NAME
    assert unquote(link["href"]) == f"a b/{NAME}"
    assert not re.search(r"[<>\"'#? ]", video["src"])
    assert all(image["src"].startswith("data:") for image in elements.named("img"))


def test_every_picture_and_plot_says_what_it_shows():
    elements = Elements(page.render("all", all_parts()))
    assert all(image["alt"] for image in elements.named("img"))
    drawn = [attributes for attributes in elements.named("div") if attributes.get("role") == "img"]
    assert len(drawn) == len(elements.named("svg")) == 3
    assert all(attributes["aria-label"] for attributes in drawn)


def test_plots_take_the_colour_of_the_pages_text_and_no_ids_of_theirs_clash():
    plot = page.Plot(plots.lines({"": [(0, 1), (1, 2)]}, "step"), "a line")
    drawing = plot.svg()
    assert plots.INK not in drawing
    assert "currentColor" in drawing
    assert "<text" in drawing  # letters, not outlines
    text = page.render("twice", [page.Plots([plot]), page.Plots([plot])])
    assert 'id="figure_1"' not in text


def test_axes_have_whole_steps_and_numbers_as_they_are_however_little_they_change():
    drawing = page.inline_svg(plots.lines({"": [(0, 0.46855), (1, 0.46857)]}, "step"))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    assert {"0", "1", "0.468550", "0.468570"} <= set(texts)
    assert not [text for text in texts if "e" in text and text != "step"]
    assert "0.5" not in texts


def test_a_note_is_reached_by_keyboard_and_columns_without_a_value_are_left_out():
    text = page.render("t", [page.Table([("name", "empty", "score"), ("one", "", "0.3")], {"score": "less is better"})])
    elements = Elements(text)
    (button,) = elements.named("button")
    (note,) = (attributes for attributes in elements.named("div") if "popover" in attributes)
    assert button["popovertarget"] == note["id"]
    assert "empty" not in text
    assert len(elements.named("th")) == len(elements.named("td")) == 2


def test_a_figure_is_legible_outside_of_a_page_too():
    figure = plots.bars([(0, 0.3, "good")], "second", "confidence")
    assert figure.patch.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
