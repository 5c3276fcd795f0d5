"""Commands and links in the pages for readers are ones that work."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from hparams import hparams

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
SCRIPTS = [path.stem for path in ROOT.glob("*.py") if path.stem not in ("audio", "hparams")]
COMMAND = re.compile(rf"^ *(?:> )?python ({'|'.join(SCRIPTS)})\.py (.+)$", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Script and arguments of every command in a code block, but those that a reader has to complete."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            found += COMMAND.findall(re.sub(r"\\\n\s*", "", block))
    return [(script, text) for script, text in found if "…" not in text]


@pytest.mark.parametrize(("script", "text"), commands())
def test_flags_and_values_in_the_pages_are_known(script, text):
    args = importlib.import_module(script).parse_args(shlex.split(text, comments=True))
    hparams.override(getattr(args, "hparams", None) or "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_in_the_pages_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            lines = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^a-z0-9 _-]", "", line.lower()).replace(" ", "-") for line in lines}, link
