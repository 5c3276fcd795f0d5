"""Settings: one definition gives the flag, the column of a table and the Python argument, and checks all three."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from dubbing import Options as DubOptions
from utils.errors import InputError
from utils.options import Options, add_flags, changed, from_args, option


@dataclass(frozen=True, kw_only=True)
class Example(Options):
    folder: Path = option("where")
    count: int = option("how many", 3, unit="frames", minimum=1)
    pads: tuple[int, int] = option("how wide", (0, 10), metavar=("TOP", "BOTTOM"))
    at: tuple[float, float] | None = option("where the face is", None, metavar="X,Y")
    files: tuple[Path, ...] | None = option("several", None)
    kind: str = option("which", "soft", choices=("soft", "box"))
    flag: bool = option("whether", False)
    preview: float | None = option("how long", None, const=5.0)


def parsed(*arguments: str) -> Example:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, fields(Example))
    return from_args(Example, parser.parse_args(["--folder", "a b", *arguments]))


def test_flags_give_values_of_the_declared_types():
    assert parsed() == Example(folder=Path("a b"))
    given = parsed("--pads", "1", "2", "--at", "3,4.5", "--files", "x", "y", "--flag", "--preview", "--count", "7")
    assert (given.pads, given.at, given.files) == ((1, 2), (3.0, 4.5), (Path("x"), Path("y")))
    assert (given.flag, given.preview, given.count) == (True, 5.0, 7)
    assert parsed("--flag", "False", "--preview", "2").preview == 2.0


def test_python_arguments_may_be_texts_and_lists():
    example = Example(folder="a b", pads=[1, 2], files=["x"])
    assert example == Example(folder=Path("a b"), pads=(1, 2), files=(Path("x"),))


def test_a_row_of_a_table_changes_settings_by_name():
    row = {"pads": "4 5", "--at": "1,2", "flag": "true", "count": "9"}
    assert changed(Example(folder="x"), row) == Example(folder="x", pads=(4, 5), at=(1.0, 2.0), flag=True, count=9)
    assert changed(Example(folder="x"), {"pads": [4, 5]}).pads == (4, 5)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"count": "0"}, "--count 0: give at least 1"),
        ({"count": "many"}, "count=many: give a whole number"),
        ({"kind": "hard"}, "--kind hard: choose from soft, box"),
        ({"pads": "1 2 3"}, "pads=1 2 3: give 2 values"),
        ({"flag": "perhaps"}, "flag=perhaps: give True or False"),
        ({"colour": "red"}, "colour: no such setting, --help lists all"),
        ({"pad": "1 2"}, "pad: no such setting, is it pads?"),
    ],
)
def test_wrong_values_are_named_with_what_to_give(row, said):
    with pytest.raises(InputError, match=said):
        changed(Example(folder="x"), row)


@pytest.mark.parametrize(("written", "value"), [([], True), (["on"], True), (["off"], False), (["False"], False)])
def test_a_switch_takes_on_and_off_as_well(written, value):
    parser = argparse.ArgumentParser()
    add_flags(parser, fields(DubOptions))
    assert from_args(DubOptions, parser.parse_args(["--occlusion", *written])).occlusion is value
    assert changed(DubOptions(), {"occlusion": "on"}).occlusion
