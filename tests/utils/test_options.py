"""Settings: one definition gives the flag, the column of a table and the Python argument, and checks all three."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from utils.cli import parser_for
from utils.errors import InputError
from utils.options import Options, changed, from_args, option


@dataclass(frozen=True, kw_only=True)
class Example(Options):
    folder: Path = option("where")
    count: int = option("how many", 3, unit="frames", minimum=1)
    pads: tuple[int, int] = option("how wide", (0, 10), metavar=("TOP", "BOTTOM"))
    at: tuple[float, float] | None = option("where the face is", None, metavar="X,Y")
    files: tuple[Path, ...] | None = option("several", None)
    kind: str = option("which", "soft", choices=("soft", "box"))
    flag: bool = option("whether", False)
    preview: float | None = option("how long", None, const=5.0, common=True)


EXAMPLE = Example(folder="a b")


def parsed(*arguments: str) -> Example:
    return from_args(Example, parser_for(None, Example).parse_args(["--folder", "a b", *arguments]))


def test_flags_rows_and_python_give_the_same_settings():
    assert parsed() == EXAMPLE == Example(folder=Path("a b"))
    flags = ["--pads", "-1", "2", "--at", "3,4.5", "--files", "x", "--flag", "--preview", "2", "--count", "7"]
    row = {"pads": "-1 2", "--at": "3,4.5", "files": "x", "flag": "true", "preview": " 2", "count": "7"}
    values = {"pads": [-1, 2], "at": [3, 4.5], "files": ["x"], "flag": True, "preview": 2, "count": 7}
    wanted = Example(folder="a b", **values)
    assert parsed(*flags) == changed(EXAMPLE, row) == changed(EXAMPLE, values) == wanted
    assert (wanted.pads, wanted.files, parsed("--preview").preview) == ((-1, 2), (Path("x"),), 5.0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count", "0", "--count 0: give at least 1"),
        ("count", "many", "--count many: give a whole number"),
        ("kind", "hard", "--kind hard: choose from soft, box"),
        ("pads", "1 2 3", "--pads 1 2 3: give 2 values"),
        ("flag", "perhaps", "--flag perhaps: give True or False"),
        ("colour", "red", "--colour: no such flag, --help lists all"),
        ("pad", "1 2", "--pad: no such flag, is it --pads"),
    ],
)
def test_wrong_values_are_named_with_what_to_give(name, value, said):
    with pytest.raises(InputError, match=said):
        changed(EXAMPLE, {name: value})
    if name not in ("pads", "pad"):
        with pytest.raises(InputError, match=said):
            parsed(f"--{name}", value)


@pytest.mark.parametrize(("given", "value"), [([], True), (["on"], True), (["off"], False), (["False"], False)])
def test_a_switch_takes_on_and_off_as_well(given, value):
    assert parsed("--flag", *given).flag is value


def test_help_lists_the_settings_used_most_first(capsys):
    with pytest.raises(SystemExit):
        parser_for(None, Example).parse_args(["--help"])
    text = capsys.readouterr().out
    places = [text.index(f"\n  --{name} ") for name in ("folder", "preview", "count", "quiet")]
    assert places == sorted(places)
