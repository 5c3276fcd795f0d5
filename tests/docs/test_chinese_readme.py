"""README.zh-CN.md has the parts of README.md, in their order."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LANGUAGES = {"README.md", "README.zh-CN.md"}  # the links from one to the other


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


ENGLISH, CHINESE = page("README.md"), page("README.zh-CN.md")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def code_lines(text: str) -> list[str]:
    """Of all blocks of code, less comments."""
    blocks = re.findall(r"^```.*?^```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r" *#.*$", "", line) for block in blocks for line in block.splitlines()]


def headings(text: str) -> list[str]:
    """The level of each, as #, ##."""
    return re.findall(r"^(#+) ", without_code(text), re.MULTILINE)


def links(text: str) -> list[str]:
    return sorted(set(re.findall(r"\]\(([^)\s]+)\)", text)) - LANGUAGES)


def tables(text: str) -> list[str]:
    """Of each row of a table the number of its cells."""
    rows = re.findall(r"^\|.*\|$", without_code(text), re.MULTILINE)
    return [f"row {number}: {row.count('|') - 1} cells" for number, row in enumerate(rows, 1)]


def names(text: str) -> list[str]:
    """What stands between backticks: commands, files, flags."""
    return sorted(re.sub(r"\s+", " ", name) for name in re.findall(r"`([^`]+)`", without_code(text)))


def check(parts: str, english: list[str], chinese: list[str]) -> None:
    missing = [part for part in english if part not in chinese]
    surplus = [part for part in chinese if part not in english]
    assert english == chinese, (
        f"{parts} of README.zh-CN.md differ from README.md's: {missing=} {surplus=} "
        f"({len(english)} there, {len(chinese)} here; where none is missing or surplus, their order or number differs)"
    )


def test_the_commands_are_the_same():
    check("lines of code", code_lines(ENGLISH), code_lines(CHINESE))


def test_there_are_as_many_headings_in_the_same_order_of_levels():
    check("headings", headings(ENGLISH), headings(CHINESE))


def test_the_links_lead_to_the_same_places():
    check("links", links(ENGLISH), links(CHINESE))


def test_the_tables_have_the_same_rows_and_columns():
    check("tables", tables(ENGLISH), tables(CHINESE))


def test_files_and_flags_in_the_text_are_the_same():
    check("names in backticks", names(ENGLISH), names(CHINESE))


def test_each_page_leads_to_the_other():
    assert "](README.zh-CN.md)" in ENGLISH
    assert "](README.md)" in CHINESE
