"""What scripts print reaches any terminal; how they end."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dubbing import networks
from dubbing.options import Options, Request
from training.options import GeneratorOptions
from utils import cli
from utils.interrupts import STOP_SIGNALS
from utils.options import grouped

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in ("audio", "hparams"))


def no_arguments(_) -> SimpleNamespace:
    return SimpleNamespace()


def run_python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command, variables = [sys.executable, "-c", program, *arguments], os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def test_names_that_the_terminal_cannot_encode_do_not_end_a_run():
    program = (
        "from types import SimpleNamespace; from utils import cli; "
        "cli.run(lambda args: print('Zo\\xeb \\u4e2d done'), lambda arguments: SimpleNamespace())"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Zo\\xeb \\u4e2d done\n"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_ends_a_script_as_ctrl_c_does(capsys, number):
    undone = []

    def main(_) -> None:
        try:
            signal.raise_signal(number)
        finally:
            undone.append(True)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        cli.run(main, no_arguments, [])
    assert (end.value.code, undone, capsys.readouterr().err) == (130, [True], "interrupted\n")
    assert signal.getsignal(number) is before


SECOND_SIGNAL = """
import signal, sys
from pathlib import Path
from types import SimpleNamespace
from utils import cli
from utils.files import atomic_write

def main(_):
    with atomic_write(Path(sys.argv[1])):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            print("is not reached")

cli.run(main, lambda _: SimpleNamespace())
"""


def test_a_second_ctrl_c_ends_a_script_at_once_and_leaves_nothing(tmp_path):
    result = run_python(SECOND_SIGNAL, str(tmp_path / "a.mp4"))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    ("redirected", "code"), [("2>&-", 0), ("2>/dev/full", 0), (">&- 2>&- <&-", 0), (">/dev/full", 1)]
)
def test_streams_that_are_closed_or_full_do_not_end_a_run(tmp_path, redirected, code):
    program = (
        "import os, sys; from pathlib import Path; from types import SimpleNamespace; from utils import cli; "
        "from utils.progress import Progress; "
        "main = lambda _: ([print('to both', file=file, flush=True) for file in (sys.stdout, sys.stderr)], "
        "list(Progress(range(3))), Path(sys.argv[1]).write_text('done'), os.fstat(2)) and 0; "
        "cli.run(main, lambda _: SimpleNamespace())"
    )
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", program, str(tmp_path / "made")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert (tmp_path / "made").read_text() == "done"


def test_an_error_is_one_line_whatever_the_name_of_the_file(capsys):
    with pytest.raises(SystemExit):
        cli.run(lambda _: open("/nowhere/a\n\u2028\x85\udcff.mp4"), no_arguments, [])  # noqa: PTH123, SIM115
    assert capsys.readouterr().err == "error: /nowhere/a\\n\\u2028\\x85\\udcff.mp4: No such file or directory\n"


def test_scripts_and_their_options_import_nothing_that_has_to_be_installed():
    names = [*SCRIPTS, "dubbing", "dubbing.options", "training.options", "preprocessing.options", "metrics.options"]
    program = (
        "import importlib, sys; before = set(sys.modules); "
        f"[importlib.import_module(name) for name in {names}]; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(name for name in new if 'site-packages' in str(getattr(sys.modules.get(name), '__file__', ''))))"
    )
    result = run_python(program)
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_package_is_one_line_that_gives_the_name_to_install(script):
    given = {
        "inference": ["--face", "tests/speech.ogg", "--audio", "tests/speech.ogg"],
        "preprocess": ["--data_root", "x", "--preprocessed_root", "x"],
        "evaluate": ["--video", "x.mp4"],
        "weights": ["export", "x.pth", "x.safetensors"],
        "finetune": ["--videos", "x"],
        "web": [],
        "wav2lip_train": ["--data_root", "x", "--checkpoint_dir", "x", "--syncnet_checkpoint_path", "LICENSE"],
    }.get(script, ["--data_root", "x", "--checkpoint_dir", "x"])
    packages = ["gradio", "cv2", "torch", "av", "numpy", "librosa", "tqdm", "onnxruntime", "safetensors"]
    program = (
        "import runpy, sys; "
        f"sys.modules.update(dict.fromkeys({packages})); "
        f"runpy.run_path('{script}.py', run_name='__main__')"
    )
    result = run_python(program, *given)
    assert result.returncode == 2
    assert re.fullmatch(r"error: [a-z-]+ is not installed in this Python \(.+\): .+\n", result.stderr), result.stderr


def test_pip_calls_opencv_by_another_name(capsys):
    def main(_) -> None:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    with pytest.raises(SystemExit) as end:
        cli.run(main, no_arguments, [])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: opencv-python is not installed in this Python")


def test_a_module_of_our_own_that_is_missing_is_a_traceback():
    with pytest.raises(ModuleNotFoundError):
        cli.run(lambda _: __import__("utils.nowhere"), no_arguments, [])


def test_a_wrong_argument_is_one_line(script):
    for name, flags in (("inference", ["--crf", "x"]), ("inference", ["--nowhere"]), ("weights", ["fetch"])):
        result = script(name, *flags)
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1


def test_an_interrupt_while_packages_are_imported_is_quiet(tmp_path):
    (tmp_path / "torch.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_path('evaluate.py', run_name='__main__')"
    )
    result = run_python(program, "--video", "x.mp4")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_help_begins_with_what_is_given_most(capsys):
    with pytest.raises(SystemExit):
        cli.parser_for(None, Request, Options).parse_args(["--help"])
    text = capsys.readouterr().out
    places = [text.index(f"\n  --{name} ") for name in ("face", "audio", "outfile", "checkpoint_path", "fps")]
    assert places == sorted(places)
    assert text.index("common settings:") < places[0]
    assert text.index("further settings:") < places[-1]


def test_the_settings_used_most_are_told_from_the_others_by_their_class():
    groups = grouped(GeneratorOptions)
    common = [setting.name for setting in groups["common"]]
    assert common[:2] == ["data_root", "checkpoint_dir"]
    assert "hparams" in {setting.name for setting in groups["further"]}


def test_inference_without_arguments_shows_what_most_people_type(script):
    result = script("inference")
    assert (result.code, result.out) == (2, "")
    for typed in ("--face talk.mp4 --audio speech.wav --outfile out.mp4\n", "--check\n", "--preview", "--demo\n"):
        assert typed in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--face", "https://example.org/talk.mp4", "--audio", "a.wav"],
         "--face https://example.org/talk.mp4: is a web address; download the file first and give its path"),
        (["--face", "nowhere.mp4", "--audio", "a.wav"], "--face nowhere.mp4: no such file"),
        (["--face", "tests", "--audio", "a.wav"], "--face tests: is a folder, not a file"),
        (["--face", "LICENSE", "--audio", "http://a.org"], "--audio http://a.org: is a web address"),
        (["--face", "LICENSE"], "--face and --audio are needed"),
        (["--outfil", "x.mp4", "--occluson"], "--occluson: no such flag, is it --occlusion?"),
        (["--face", "my", "talk.mp4"], "talk.mp4: belongs to no flag; quote names with spaces"),
        (["--crf", "x"], "--crf: x: give a whole number"),
        (["--pads", "0,20,0,0"], "--pads: expected 4 arguments, with spaces between: TOP BOTTOM LEFT RIGHT"),
        (["--face_at", "100"], "error: --face_at: 100: give 2 values"),
        (["--jobs", "list.csv", "--check"], "--jobs and --check: give one of them"),
        (["--face", "LICENSE", "--check", "--still"], "--check and --still: give one of them"),
        (["--jobs", "list.csv", "--face", "a.mp4"], "--face: is in the list of --jobs"),
    ],
)  # fmt: skip
def test_wrong_input_is_named_before_any_network_is_loaded(script, monkeypatch, arguments, said):
    monkeypatch.setattr(networks, "load_networks", None)
    monkeypatch.chdir(ROOT)
    assert said in f"error: {script('inference', *arguments).error}"


def test_quiet_takes_names_that_no_encoding_has(capsys):
    with pytest.raises(SystemExit) as end:
        cli.run(lambda args: print("\udcff.mp4"), lambda arguments: SimpleNamespace(quiet=True), [])
    assert (end.value.code, capsys.readouterr()) == (0, ("", ""))


def test_quiet_prints_nothing_and_json_the_record_alone(dub, talking):
    box = ["--box", 57, 177, 178, 273, "--preview", 0.2]
    quiet = dub(*box, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert "TQDM_DISABLE" not in os.environ
    for more in ([], ["--quiet"]):
        result = dub(*box, "--json", *more)
        assert json.loads(result.out)["face"] == str(talking)
        assert bool(result.err) == (not more)
