"""Lists as people's programs save them."""

import json

import pytest

from utils.errors import InputError
from utils.files import read_table

PLAIN = 'face,audio,pads\n"a, b.mp4",s.wav,0 20 0 0\nc.mp4,t.wav,\n'
ROWS = [{"face": "a, b.mp4", "audio": "s.wav", "pads": "0 20 0 0"}, {"face": "c.mp4", "audio": "t.wav", "pads": ""}]


def saved(text: str, separator: str = ",", newline: str = "\n") -> str:
    """PLAIN, or what is like it, with another separator outside of the quotes."""
    return text.replace(", b", "\0").replace(",", separator).replace("\0", ", b").replace("\n", newline)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (saved(PLAIN, ";", "\r\n"), "utf-8-sig"),
        (saved(PLAIN, "\t", "\r\n"), "utf-16"),
        (saved(PLAIN, "|"), "utf-8"),
        ("sep=;\r\n" + saved(PLAIN, ";", "\r\n"), "utf-8-sig"),
        (saved(PLAIN, ";").replace("face;audio", ' "Face" ; Audio '), "utf-8"),
        (saved(PLAIN, ";").replace('"a, b.mp4"', "a, b.mp4"), "utf-8"),
        (saved(PLAIN, ";").replace("pads", "pads;;").replace("0 0\n", "0 0;;\n") + ";;;;\n\n", "utf-8"),
    ],
    ids=["comma", "semicolon and mark", "tab, UTF-16", "bar", "sep line", "names", "comma in a cell", "empty cells"],
)
def test_one_table_is_read_however_it_was_saved(tmp_path, text, encoding):
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert read_table(tmp_path / "list.csv", "--jobs", ("face", "audio")) == ROWS
    (tmp_path / "list.json").write_text(json.dumps(ROWS), encoding=encoding)
    assert read_table(tmp_path / "list.json", "--jobs", ("face", "audio")) == ROWS


def test_a_list_may_have_one_column(tmp_path):
    (tmp_path / "list.csv").write_text("video\na; b.mp4\n")
    assert read_table(tmp_path / "list.csv", "--list", ("video",)) == [{"video": "a; b.mp4"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"video;sound\nx;y\n", "has the columns video, sound; give a first line that names face and audio too"),
        (b"\xef\xbb\xbfface;sound\nx;y\n", "has the columns face, sound; give a first line that names audio too"),
        (b"face;audio\nx;y;z\n", "row 2 has more values than"),
        (b"face;audio;face\nx;y;z\n", "two columns called face"),
        (b"face;audio\nZo\xeb;y\n", "in UTF-8"),
        (b"face;audio\n", "give rows"),
        (b"", "is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_by_its_columns(tmp_path, content, said):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"--jobs .*list\.csv: ") as error:
        read_table(path, "--jobs", ("face", "audio"))
    assert said in str(error.value)
