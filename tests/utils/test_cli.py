"""How scripts end, what they print in any terminal, their progress, and how their settings are given and checked."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from hparams import HParams, hparams
from utils import cli, progress
from utils.cli import parser_for
from utils.errors import InputError
from utils.process import STOP_SIGNALS
from utils.progress import Progress
from utils.settings import Options, from_args, option, with_overrides

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in ("audio", "hparams"))
RUN = "import signal, sys; from pathlib import Path; from types import SimpleNamespace; from utils import cli\n{}\n"
RUN += "cli.run(main, lambda _: SimpleNamespace())"
SECOND_SIGNAL = """
from utils.files import atomic_write
def main(_):
    with atomic_write(Path(sys.argv[1])):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            print("is not reached")
"""
ALL_STREAMS = """
import os
from utils.progress import Progress
def main(_):
    print("Zo\\xeb \\u4e2d", flush=True)
    print("Zo\\xeb", file=sys.stderr, flush=True)
    list(Progress(range(3)))
    os.fstat(2)  # no file that is opened later gets the number of a closed stream
    Path(sys.argv[1]).write_text("done")
"""


def run_python(program: str, *arguments: str, shell: str = 'exec "$@"', **environment: str):
    command, variables = ["sh", "-c", shell, "sh", sys.executable, "-c", program, *arguments], os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def end_of(main, capsys, **arguments) -> tuple[int, str, str]:
    """The exit code of a script with this main, and what it printed."""
    with pytest.raises(SystemExit) as end:
        cli.run(main, lambda _: SimpleNamespace(**arguments), [])
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize("number", [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN])
def test_every_stop_signal_ends_a_script_as_ctrl_c_does(capsys, number):
    undone, before = [], signal.getsignal(number)

    def main(_) -> None:
        try:
            signal.raise_signal(number)
        finally:
            undone.append(True)

    assert end_of(main, capsys) == (130, "", "interrupted\n")
    assert undone == [True]
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_a_script_at_once_and_leaves_nothing(tmp_path):
    result = run_python(RUN.format(SECOND_SIGNAL), str(tmp_path / "a.mp4"))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_packages_are_imported_is_quiet(tmp_path):
    (tmp_path / "torch.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + RUN.format("def main(_): import torch")
    result = run_python(program)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(("redirected", "code"), [("", 0), (">&- 2>&- <&-", 0), (">/dev/full", 1)])
def test_streams_that_are_closed_full_or_of_a_narrow_encoding_do_not_end_a_run(tmp_path, redirected, code):
    made = tmp_path / "made"
    program = RUN.format(ALL_STREAMS)
    result = run_python(program, str(made), shell=f'exec "$@" {redirected}', PYTHONIOENCODING="ascii")
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert made.read_text() == "done"
    assert redirected or result.stdout == "Zo\\xeb \\u4e2d\n"


def test_an_error_is_one_line_whatever_the_name_of_the_file_or_the_package(capsys):
    def missing(_) -> None:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    code, _, err = end_of(lambda _: open("/nowhere/a\n\u2028\x85\udcff.mp4"), capsys)  # noqa: PTH123, SIM115
    assert (code, err) == (2, "error: /nowhere/a\\n\\u2028\\x85\\udcff.mp4: No such file or directory\n")
    assert end_of(missing, capsys)[2].startswith("error: opencv-python is not installed in this Python")


def test_scripts_show_their_help_without_any_package_that_has_to_be_installed():
    program = (
        "import importlib, sys\nbefore = set(sys.modules)\n"
        f"for name in {SCRIPTS}: importlib.import_module(name)\n"
        "files = [str(getattr(sys.modules[name], '__file__', '')) for name in set(sys.modules) - before]\n"
        "print([file for file in files if 'site-packages' in file])"
    )
    result = run_python(program)
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--face", "https://example.org/talk.mp4", "--audio", "a.wav"], "--face https://example.org/talk.mp4: "),
        (["--face", "nowhere.mp4", "--audio", "a.wav"], "--face nowhere.mp4: no such file"),
        (["--face", "tests", "--audio", "a.wav"], "--face tests: is a folder"),
        (["--face", "LICENSE"], "--face and --audio are needed"),
        (["--outfil", "x.mp4", "--occluson"], "--occluson: no such flag, is it --occlusion?"),
        (["--face", "my", "talk.mp4"], "talk.mp4: belongs to no flag"),
        (["--pads", "0,20,0,0"], "TOP BOTTOM LEFT RIGHT"),
        (["--jobs", "list.csv", "--face", "a.mp4"], "--face: "),
    ],
)
def test_wrong_input_is_one_line_before_any_network_is_loaded(script, monkeypatch, arguments, said):
    monkeypatch.setattr("dubbing.networks.load_networks", None)
    monkeypatch.chdir(ROOT)
    result = script("inference", *arguments)
    assert result.code == 2
    assert result.err.startswith("error: ") and said in result.err and result.err.count("\n") == 1


def test_quiet_prints_nothing_and_json_the_record_alone(dub, talking, capsys):
    assert end_of(lambda args: print("\udcff.mp4"), capsys, quiet=True) == (0, "", "")
    result = dub("--box", 57, 177, 178, 273, "--preview", 0.2, "--json", "--quiet")
    assert (json.loads(result.out)["face"], result.err) == (str(talking), "")
    assert "TQDM_DISABLE" not in os.environ


@pytest.fixture
def hasty(monkeypatch) -> None:
    """Lines are due after a tenth of a second."""
    monkeypatch.delenv(progress.DISABLED, raising=False)
    monkeypatch.setattr(progress, "SHOWN_FROM", 0.001)
    monkeypatch.setattr(progress, "FIRST_LINE", 0.1)


@pytest.mark.usefixtures("hasty")
def test_a_log_gets_few_lines_and_at_the_end_the_true_count(capsys):
    for _ in Progress(iter(range(6)), "faces", unit="frame", total=9):
        time.sleep(0.06)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert all(line.startswith("faces: ") for line in lines)
    assert "/9 " in lines[0] and "6/6" in lines[-1]


@pytest.mark.usefixtures("hasty")
def test_a_bar_that_is_drawn_again_keeps_its_rate(capsys):
    with Progress(total=100, desc="training") as bar:
        for number in range(60):
            time.sleep(0.01)
            bar.update()
            if number % 20 == 10:
                bar.sign()
        assert bar.format_dict["rate"] < 101  # a second
    assert "training" in capsys.readouterr().err


@pytest.mark.usefixtures("hasty")
def test_the_bar_of_a_loop_that_an_error_leaves_ends_before_the_error_is_told(capsys):
    def main(_) -> None:
        for _ in Progress(range(9), "faces"):
            time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        cli.run(main, lambda _: SimpleNamespace(), [])
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["faces", "interrupted"]


def test_short_work_and_disabled_bars_show_nothing(capsys, monkeypatch):
    list(Progress(range(3), "dubbing"))
    monkeypatch.setattr(progress, "SHOWN_FROM", 0.001)
    monkeypatch.setenv(progress.DISABLED, "1")
    with Progress(range(100), "dubbing") as bar, bar.paused():
        bar.update()
    assert capsys.readouterr().err == ""


def test_long_silence_is_broken_and_a_script_that_waits_for_somebody_says_nothing():
    program = """
import sys, time
from types import SimpleNamespace
from utils import cli, progress
progress.SHOWN_FROM, progress.FIRST_LINE = 0.05, 0.3
def main(_):
    with progress.doing("clips"):
        time.sleep(1)
    print("asked", file=sys.stderr)
    with progress.doing(progress.WAITING):
        time.sleep(1)
cli.run(main, lambda _: SimpleNamespace())
"""
    environment = {name: value for name, value in os.environ.items() if name != progress.DISABLED}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    before, after = done.stderr.split("asked\n")
    assert 1 <= before.count("clips") == len(before.splitlines()) <= 5
    assert after == ""


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
    assert [parsed("--flag", value).flag for value in ("on", "off", "False")] == [True, False, False]


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
