"""Settings of a stage as a frozen dataclass, written once: type, default, unit, bounds and help of every setting.

    @dataclass(frozen=True, kw_only=True)
    class Resize(Options):
        width: int = option("size of the result", 640, unit="pixels", minimum=1)

    Resize(width=320)                                                           # in Python
    add_flags(parser, fields(Resize)); from_args(Resize, parser.parse_args())   # as the flag --width
    with_overrides(Resize(), {"width": "320"})                                  # from a row of a table

Types: bool, int, float, str, Path, tuples of them, and any of these `| None`.
"""

import argparse
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from utils.errors import InputError, did_you_mean

OptionsType = TypeVar("OptionsType", bound="Options")

PRECISIONS = ("auto", "fp32", "bf16", "fp16")  # dtypes of networks: utils/devices.py
METAVARS = {int: "N", float: "N", Path: "PATH", str: "TEXT"}
BOOLEANS = {"true": True, "on": True, "false": False, "off": False}
WORDS = {int: "a whole number", float: "a number", bool: "True or False"}


def option(
    help: str,
    default: Any = MISSING,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    metavar: str | tuple[str, ...] | None = None,  # as in argparse, one name per value of a tuple
    const: Any = None,  # the value of a flag that is given without one
    common: bool = False,  # listed among the settings used most; settings without a default always are
    weights: bool = False,  # names weight files, which models/published.py: ensure_weights checks
    aliases: tuple[str, ...] = (),  # other names of the flag
) -> Any:
    """One setting of an Options class."""
    metadata = {key: value for key, value in locals().items() if key != "default"}
    return field(default=default, metadata=metadata | {"common": common or default is MISSING})


def stream_option(what: str) -> Any:
    """Which of several streams in one file to use."""
    return option(f"{what}, from 0 (default: the one marked as default, or the first)", None, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all settings. Values are checked when an object is made; a wrong one raises InputError."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, kind = getattr(self, setting.name), value_type(setting)
            if isinstance(value, list | tuple):
                value = tuple(map(Path if Path in get_args(kind) else lambda part: part, value))
            elif isinstance(value, str) and kind is Path:
                value = Path(value)
            object.__setattr__(self, setting.name, value)
            _check(setting, value)


def _check(setting: Field, value: Any) -> None:
    minimum, maximum, choices = (setting.metadata[name] for name in ("minimum", "maximum", "choices"))
    if value is None:
        return
    if minimum is not None and not value >= minimum:  # nor is NaN
        raise InputError(f"--{setting.name} {value}: give at least {minimum}")
    if maximum is not None and value > maximum:
        raise InputError(f"--{setting.name} {value}: give at most {maximum}")
    if choices and value not in choices:
        raise InputError(f"--{setting.name} {value}: choose from {', '.join(choices)}")


@dataclass(frozen=True, kw_only=True)
class CommonOptions(Options):
    """Settings of every stage with a network."""

    hparams: str = option("change values of hparams.py", "", metavar="NAME=VALUE,...")
    device: str = option("auto, cpu, cuda, cuda:1, mps ...", "auto")


def value_type(setting: Field) -> Any:
    """The type of a setting's values, without `| None`."""
    if isinstance(setting.type, types.UnionType):
        return next(kind for kind in get_args(setting.type) if kind is not types.NoneType)
    return setting.type


def parse_scalar(kind: type, text: str, prefix: str) -> Any:
    """The bool, int, float, str or Path that `text` writes; the InputError of another text begins with the prefix."""
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{prefix}{text}: give {WORDS[kind]}") from error


def parsed(setting: Field, text: str) -> Any:
    """The value of a setting that a text writes; several values have commas or spaces between them."""
    kind, prefix = value_type(setting), f"--{setting.name} "
    if get_origin(kind) is not tuple:
        return parse_scalar(kind, text, prefix)
    kinds, parts = get_args(kind), text.replace(",", " ").split()
    if Ellipsis not in kinds and len(parts) != len(kinds):
        raise InputError(f"{prefix}{text}: give {len(kinds)} values")
    return tuple(parse_scalar(kinds[0], part, prefix) for part in parts)


def with_overrides(options: OptionsType, values: Mapping[str, Any]) -> OptionsType:
    """A copy with other values, which a table may hold as text, written as on a command line.

    Names may be written as flags. Raises InputError for an unknown name or a wrong value.
    """
    known, changes = {setting.name: setting for setting in fields(options)}, {}
    for name, value in values.items():
        name = name.strip().lstrip("-")
        if name not in known:
            raise _unknown(name, known)
        changes[name] = parsed(known[name], format_value(value).strip())
    return replace(options, **changes)


def _unknown(name: str, known: Iterable[str]) -> InputError:
    advice = did_you_mean(name, known, "--help lists all").replace("is it ", "is it --")
    return InputError(f"--{name}: no such flag, {advice}")


class OptionsParser(argparse.ArgumentParser):
    """argparse's parser, except that a wrong argument raises InputError of one line."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, rest = self.parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            names = [name.strip("-") for name in self._option_string_actions]
            raise _unknown(rest[0].partition("=")[0].strip("-"), names)
        if rest:
            self.error(f"{rest[0]}: belongs to no flag; quote names with spaces")
        return known

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        action = self._option_string_actions.get(message.partition(":")[0].partition("/")[0])
        if "expected" in message and action and isinstance(action.metavar, tuple):
            message += f", with spaces between: {' '.join(action.metavar)}"
        raise InputError(message)


def grouped(*options_classes: type[Options]) -> dict[str, list[Field]]:
    """The settings of the classes as people are shown them: those used most, and the others."""
    settings = [setting for options_class in options_classes for setting in fields(options_class)]
    return {
        "common": [setting for setting in settings if setting.metadata["common"]],
        "further": [setting for setting in settings if not setting.metadata["common"]],
    }


def add_flags(parser: Any, settings: Iterable[Field]) -> None:
    """A flag for each of the settings, in a parser or a group of one."""
    for setting in settings:
        given = {"required": True} if setting.default is MISSING else {"default": setting.default}
        parser.add_argument(f"--{setting.name}", *setting.metadata["aliases"], **_flag(setting), **given)


def _flag(setting: Field) -> dict[str, Any]:
    """The setting as argparse's add_argument() takes it."""
    kind, about = value_type(setting), setting.metadata
    metavar = about["metavar"] or METAVARS.get(kind)
    flag = {"help": help_text(setting).replace("%", "%%"), "metavar": metavar, "type": partial(parsed, setting)}
    if about["choices"]:
        return flag | {"metavar": "|".join(about["choices"])}  # Options checks them
    if kind is bool:
        return flag | {"nargs": "?", "const": True, "metavar": "on|off"}
    if about["const"]:
        return flag | {"nargs": "?", "const": about["const"]}
    if get_origin(kind) is tuple and not (isinstance(metavar, str) and "," in metavar):  # not one word, such as X,Y
        inner = get_args(kind)
        scalar = partial(parse_scalar, inner[0], prefix=f"--{setting.name} ")
        if Ellipsis in inner:  # one or several at a time
            return flag | {"type": scalar, "nargs": "+", "action": "extend"}
        return flag | {"type": scalar, "nargs": len(inner)}
    return flag


def from_args(options_class: type[OptionsType], args: argparse.Namespace) -> OptionsType:
    """The options that a command line gave; args may hold other flags besides."""
    return options_class(**{setting.name: getattr(args, setting.name) for setting in fields(options_class)})


def help_text(setting: Field) -> str:
    """What the setting is, its unit and its default, in one sentence."""
    notes = [setting.metadata["unit"]] if setting.metadata["unit"] else []
    if setting.default not in (MISSING, None, False, ""):
        notes.append(f"default: {format_value(setting.default)}")
    return setting.metadata["help"] + (f" ({'; '.join(notes)})" if notes else "")


def as_flags(options: Options) -> list[str]:
    """The words of a command line that give the settings that differ from their defaults."""
    words = []
    for setting in fields(options):
        value = getattr(options, setting.name)
        if value == setting.default:
            continue
        parts = value if isinstance(value, tuple) else (value,)
        values = [f"{part:g}" if isinstance(part, float) else format_value(part) for part in parts]
        one_word = isinstance(setting.metadata["metavar"], str) and "," in setting.metadata["metavar"]  # X,Y
        words += [f"--{setting.name}", *([] if value is True else [",".join(values)] if one_word else values)]
    return words


def format_value(value: Any) -> str:
    """A value as it is typed on a command line."""
    if isinstance(value, Path):
        return value.as_posix()
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
