"""Writes docs/cli.md, the list of all flags, from the Options dataclasses.

python -m docs.generate_cli
"""

from collections.abc import Iterable
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from dubbing.options import Options as DubbingOptions
from dubbing.options import Request
from finetune import FinetuneOptions
from metrics.options import EvaluationOptions
from preprocessing.options import PreprocessingOptions
from training.options import GeneratorOptions, RefinerOptions, TrainingOptions
from utils.files import write_text
from utils.options import Options, grouped, value_type, written
from web.options import WebOptions

PAGE = Path(__file__).with_name("cli.md")
KINDS = {int: "whole number", float: "number", str: "text", Path: "path"}
KINDS_PLURAL = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
HEAD = "| flag | values | default | what it does |\n|---|---|---|---|\n"

INTRODUCTION = """\
# Command lines

Written by `python -m docs.generate_cli` from the Options dataclasses (`dubbing/options.py`, `training/options.py`,
`preprocessing/options.py`, `metrics/options.py`); change those, not this page. `python SCRIPT.py --help` prints the
same flags, those used most first.

A switch is given alone (`--rotate`), or with a value (`--rotate True`, `--rotate False`). Where the default is empty
and something else is done without the flag, the description says so ("else ..."). The names that `--hparams` takes
are in `hparams.py`.

**Missing weights.** A published file that is named but not there (`--checkpoint_path checkpoints/wav2lip_gan.pth`) can
be fetched at once: a script that runs in a terminal asks, with its size and licence; `--yes` agrees without asking.

**In a log file** progress is a line now and then instead of a bar; `--quiet` prints neither.

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
| `python weights.py export CHECKPOINT OUT --format F` | a generator to run without PyTorch: `openvino`, `onnx` |

`--debug`, which shows the traceback of an error, and `--quiet` are given before the command. A file
that cannot be fetched is one line, and the next is tried. Exit code 1: some were fetched; 2: none.
"""


class Flag(NamedTuple):
    """One row of a table: texts in Markdown."""

    flags: str
    values: str
    default: str
    what: str


YES = Flag("`--yes`", "no value", "off", "fetch published weights that are named but missing without asking")
OF_ALL = (
    Flag("`--quiet`", "no value", "off", "print warnings and errors alone"),
    Flag("`--debug`", "no value", "off", "show the traceback of an error"),
)


class Script(NamedTuple):
    """options: made into flags; note: what a reader should know besides."""

    name: str
    what: str
    options: tuple[type[Options], ...]
    note: str = ""


SCRIPTS = (
    Script("inference.py", "Dubs a video or a picture.", (Request, DubbingOptions),
           "`--face` and `--audio`, or `--jobs`, or `--demo` must be given. The flags from "
           "`--checkpoint_path` on are the fields of `dubbing.Options`."),
    Script("finetune.py", "From videos of a person to a finetuned generator, a refiner and a dub to compare.",
           (FinetuneOptions,)),
    Script("preprocess.py", "Makes raw videos into clips, lists and a report.", (PreprocessingOptions,),
           "`--data_root` is needed unless `--report_only` is given."),
    Script("color_syncnet_train.py", "Trains the lip-sync expert.", (TrainingOptions,)),
    Script("wav2lip_train.py", "Trains or finetunes the generator.", (GeneratorOptions,)),
    Script("refiner_train.py", "Trains the refiner of one person, for sharp mouths.", (RefinerOptions,)),
    Script("evaluate.py", "Scores dubbed videos, or a generator.", (EvaluationOptions,),
           "One of `--video`, `--list` and `--generator` must be given; `--generator` needs `--data_root`."),
    Script("web.py", "Serves the page ([web.md](web.md)).", (WebOptions,)),
)  # fmt: skip


def cli_page() -> str:
    """The text of docs/cli.md."""
    return "\n".join([INTRODUCTION, *(_section(script) for script in SCRIPTS), WEIGHTS])


def _section(script: Script) -> str:
    groups = grouped(*script.options)
    note = f"{script.note}\n\n" if script.note else ""
    common, further = ([_flag(setting) for setting in settings] for settings in groups.values())
    return (
        f"## {script.name}\n\n{script.what}\n\n{note}"
        f"{_table(common)}\nFurther flags:\n\n{_table([*further, YES, *OF_ALL])}"
    )


def _table(flags: Iterable[Flag]) -> str:
    return HEAD + "".join(f"| {' | '.join(map(_escaped, flag))} |\n" for flag in flags)


def _escaped(cell: str) -> str:
    """Without what would end a cell of the table or begin an HTML tag."""
    return cell.replace("|", "\\|").replace("<", "&lt;")


def _flag(setting: Field) -> Flag:
    names = ", ".join(f"`{name}`" for name in (f"--{setting.name}", *setting.metadata["aliases"]))
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
    if about["maximum"] is not None:
        notes.append(f"at most {about['maximum']:g}")
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
