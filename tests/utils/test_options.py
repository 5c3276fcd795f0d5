"""Settings: one definition gives the flag, the column of a table and the Python argument, and checks all three."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from hparams import HParams, hparams
from utils.cli import parser_for
from utils.errors import InputError
from utils.settings import Options, from_args, option, with_overrides


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
    assert parsed(*flags) == with_overrides(EXAMPLE, row) == with_overrides(EXAMPLE, values) == wanted
    assert (wanted.pads, wanted.files, parsed("--preview").preview) == ((-1, 2), (Path("x"),), 5.0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count", "0", "--count 0: give at least 1"),
        ("kind", "hard", "--kind hard: choose from soft, box"),
        ("pads", "1 2 3", "--pads 1 2 3: give 2 values"),
        ("flag", "perhaps", "--flag perhaps: give True or False"),
        ("pad", "1 2", "--pad: no such flag, is it --pads"),
    ],
)
def test_wrong_values_are_named_with_what_to_give(name, value, said):
    with pytest.raises(InputError, match=said):
        with_overrides(EXAMPLE, {name: value})
    if name not in ("pads", "pad"):
        with pytest.raises(InputError, match=said):
            parsed(f"--{name}", value)


@pytest.mark.parametrize(("given", "value"), [([], True), (["on"], True), (["off"], False), (["False"], False)])
def test_a_switch_takes_on_and_off_as_well(given, value):
    assert parsed("--flag", *given).flag is value


def test_hparams_are_overridden_in_a_copy_and_read_from_a_checkpoint_of_another_version():
    changed_values = hparams.override("batch_size=4, width=0.5,save_optimizer_state=false")
    assert (changed_values.batch_size, changed_values.width, changed_values.save_optimizer_state) == (4, 0.5, False)
    assert (hparams.batch_size, hparams.width, hparams.save_optimizer_state) == (16, 1.0, True)
    assert HParams.from_dict(changed_values.to_dict() | {"of_a_later_version": 3}) == changed_values
    assert HParams.from_dict(None) == hparams
    assert hparams.override("hop_size=100").mel_columns_per_second == 160


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batchsize=4", "batchsize=4: no such value, is it batch_size?"),
        ("batch_size", "write batch_size=VALUE"),
        ("batch_size=4.5", "whole number"),
        ("width=wide", "a number"),
        ("save_optimizer_state=1", "True or False"),
        ("batch_size=0", "above zero"),
        ("width=inf", "at most"),
        ("n_fft=1", "win_size=800: is more than n_fft"),
    ],
)
def test_hparams_of_unknown_names_wrong_types_and_impossible_values_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        hparams.override(text)


def test_the_published_names_of_hparams_are_there():
    names = """num_mels n_fft hop_size win_size sample_rate preemphasis min_level_db ref_level_db fmin fmax
    max_abs_value img_size fps batch_size initial_learning_rate nepochs num_workers checkpoint_interval eval_interval
    save_optimizer_state syncnet_wt syncnet_batch_size syncnet_lr syncnet_eval_interval syncnet_checkpoint_interval
    disc_wt disc_initial_learning_rate"""
    assert all(hasattr(hparams, name) for name in names.split())
