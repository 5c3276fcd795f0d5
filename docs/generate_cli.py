"""Writes docs/cli.md, the list of all flags, from the Options dataclasses.

python -m docs.generate_cli
"""

from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from dubbing import Options as DubbingOptions
from metrics.options import EvaluationOptions
from preprocessing.options import PreprocessingOptions
from training.options import GeneratorOptions, RefinerOptions, TrainingOptions
from utils.files import write_text
from utils.options import Options, value_type, written

PAGE = Path(__file__).with_name("cli.md")
KINDS = {int: "whole number", float: "number", str: "text", Path: "path"}
KINDS_PLURAL = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
HEAD = "| flag | values | default | what it does |\n|---|---|---|---|\n"

INTRODUCTION = """\
# Command lines

Written by `python -m docs.generate_cli` from the Options dataclasses (`dubbing/options.py`, `training/options.py`,
`preprocessing/options.py`, `metrics/options.py`); change those, not this page. `python SCRIPT.py --help` prints the
same flags.

A switch is given alone (`--rotate`), or with a value (`--rotate True`, `--rotate False`). Where the default is empty
and something else is done without the flag, the description says so ("else ..."). The names that `--hparams` takes
are in `hparams.py`.

Exit codes: 0 done; 1 done, but something was skipped; 2 bad input; 130 interrupted.
"""
WEIGHTS = """\
## weights.py

| command | what it does |
|---|---|
| `python weights.py list` | every file, its place, licence and SHA-256, whether it is there |
| `python weights.py fetch NAME [NAME ...]` | download; an interrupted download is continued; checked by SHA-256 |
| `python weights.py import FILE [FILE ...]` | copy files you have to their places, whatever their names |
| `python weights.py verify` | check the SHA-256 of every file that is there |
| `python weights.py export CHECKPOINT OUT` | weights alone, in half precision, as `OUT` (`.safetensors`) |

`--debug` is given before the command and shows the traceback of an error.
"""


class Flag(NamedTuple):
    """One row of a table: texts in Markdown."""

    flags: str
    values: str
    default: str
    what: str


DEBUG = Flag("`--debug`", "no value", "off", "show the traceback of an error")
OF_INFERENCE = (
    Flag("`--face`", "path", "", "video or picture with the face"),
    Flag("`--audio`", "path", "", "any sound or video file with the speech"),
    Flag("`--outfile`, `--out-file`, `--out_file`", "path", "`results/result_voice.mp4`",
         "video to write, or a folder"),
    Flag("`--jobs`", "path (CSV or JSON)", "", "a list of dubs, each with `face`, `audio` and other flags by name"),
    Flag("`--demo`", "no value", "off", "dub two bundled clips, score them and make a page that shows them"),
)  # fmt: skip


class Script(NamedTuple):
    """options: made into flags; own: flags that the script adds; note: what a reader should know besides."""

    name: str
    what: str
    options: type[Options]
    own: tuple[Flag, ...] = ()
    note: str = ""


SCRIPTS = (
    Script("inference.py", "Dubs a video or a picture.", DubbingOptions, OF_INFERENCE,
           "`--face` and `--audio`, or `--jobs`, or `--demo` must be given. The other flags are the fields of "
           "`dubbing.Options`."),
    Script("preprocess.py", "Makes raw videos into clips, lists and a report.", PreprocessingOptions,
           note="`--data_root` is needed unless `--report_only` is given."),
    Script("color_syncnet_train.py", "Trains the lip-sync expert.", TrainingOptions),
    Script("wav2lip_train.py", "Trains or finetunes the generator.", GeneratorOptions),
    Script("refiner_train.py", "Trains the refiner of one person, for sharp mouths.", RefinerOptions),
    Script("evaluate.py", "Scores dubbed videos, or a generator.", EvaluationOptions,
           note="One of `--video`, `--list` and `--generator` must be given; `--generator` needs `--data_root`."),
)  # fmt: skip


def cli_page() -> str:
    """The text of docs/cli.md."""
    return "\n".join([INTRODUCTION, *(_section(script) for script in SCRIPTS), WEIGHTS])


def _section(script: Script) -> str:
    flags = [*script.own, *(_flag(setting) for setting in fields(script.options)), DEBUG]
    note = f"{script.note}\n\n" if script.note else ""
    return f"## {script.name}\n\n{script.what}\n\n{note}{_table(flags)}"


def _table(flags: Iterable[Flag]) -> str:
    return HEAD + "".join(f"| {' | '.join(map(_escaped, flag))} |\n" for flag in flags)


def _escaped(cell: str) -> str:
    """Without what would end a cell of the table or begin an HTML tag."""
    return cell.replace("|", "\\|").replace("<", "&lt;")


def _flag(setting: Field) -> Flag:
    names = f"`--{setting.name}`"
    return Flag(names, _values(setting), _default(setting), setting.metadata["help"])


def _default(setting: Field) -> str:
    if setting.default is MISSING:
        return "required"
    if setting.default is False:
        return "off"
    return f"`{written(setting.default)}`" if setting.default not in (None, "") else ""


def _values(setting: Field) -> str:
    """What may be given, with its unit and its bounds."""
    kind, about = value_type(setting), setting.metadata
    if kind is bool:
        return "switch"
    if about["choices"]:
        return ", ".join(f"`{choice}`" for choice in about["choices"])
    notes = [_shape(kind, about["metavar"]) + (f" ({about['unit']})" if about["unit"] else "")]
    if about["minimum"] is not None:
        notes.append(f"at least {about['minimum']:g}")
    if about["const"] is not None:
        notes.append(f"{about['const']:g} where the flag is given alone")
    return ", ".join(notes)


def _shape(kind: Any, metavar: str | tuple[str, ...] | None) -> str:
    if isinstance(metavar, tuple):
        return f"`{' '.join(metavar)}`"
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return f"`{metavar}`" if Ellipsis not in inner else f"one or more {KINDS_PLURAL[inner[0]]}"
    return f"`{metavar}`" if metavar and "=" in metavar else KINDS[kind]


if __name__ == "__main__":
    write_text(PAGE, cli_page())
