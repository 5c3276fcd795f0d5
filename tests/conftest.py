"""Footage and weights that the tests make for themselves, once a session and process."""

import importlib
import os
import signal
import struct
from pathlib import Path
from types import SimpleNamespace

os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}  # test processes share the cores

import pytest

from hparams import hparams
from utils import cli, files, process

pytest_plugins = ["serving"]

NARROW_TEXT = "width=0.125,num_workers=0,batch_size=4,syncnet_batch_size=8,eval_windows=16"
NARROW = hparams.override(NARROW_TEXT)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so does a shell start what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def settings_of_all_tests(tmp_path_factory) -> None:
    """Faces found by tests stay out of the user's cache, --engine auto takes PyTorch wherever OpenVINO is installed,
    and trainings do not make a test process keep the memory that it frees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(files.CACHE_FOLDER, str(tmp_path_factory.mktemp("cache")))
        patch.setattr(process, "disable_malloc_trim", lambda: None)
        patch.setattr("models.backend.is_cpu", lambda device: False)
        yield


@pytest.fixture(autouse=True)
def undrawn_plots(monkeypatch) -> None:
    """Plots are made, and drawn as empty ones, but in tests of pages: drawing takes as long as a tiny training."""
    monkeypatch.setattr("reports.plots.svg", lambda figure: "data:,")


@pytest.fixture
def short_evaluations(monkeypatch) -> None:
    """Trainings score less than a second of each clip."""
    monkeypatch.setattr("metrics.generators.FRAMES", 20)


EXPERT, GENERATOR = "color_syncnet_train", "wav2lip_train"


def where(preprocessed, folder: Path) -> list:
    """The flags of a training on these clips into this folder."""
    return ["--data_root", preprocessed.root, "--filelists_dir", preprocessed.lists, "--checkpoint_dir", folder]


def steps(folder: Path) -> list[int]:
    """The steps of a run's numbered checkpoints."""
    return sorted(int(path.stem.removeprefix("checkpoint_step")) for path in folder.glob("checkpoint_step*.pth"))


def scalars(folder: Path, name: str) -> dict[int, float]:
    """A scalar of a run's TensorBoard log by step. TensorBoard's own reader adds up checksums of pictures in Python."""
    from tensorboard.compat.proto.event_pb2 import Event

    found = {}
    for path in sorted((folder / "logs").glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):  # records of a length, its checksum, an event, and its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                if value.tag == name:
                    found[event.step] = value.simple_value
            at += length + 16
    return found


def needs_gpus(count: int = 1) -> list[pytest.MarkDecorator]:
    """Marks of a test that needs so many."""
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [pytest.mark.cuda, pytest.mark.skipif(found < count, reason=f"needs {count} GPU(s), {found} found")]


def make_clips_here(jobs: list, devices: list[str], detector: str) -> list:
    """As preprocessing.run.run_workers, without starting a process."""
    from preprocessing.clip_maker import ClipMaker

    maker = ClipMaker(detector, devices[0], 1)
    return [maker.make_clip(job) for job in jobs]


@pytest.fixture
def no_workers(monkeypatch) -> None:
    """preprocess.py makes its clips in this process."""
    monkeypatch.setattr("preprocessing.run.run_workers", make_clips_here)


@pytest.fixture(scope="session")
def talking(tmp_path_factory) -> Path:
    """A talking-head video: 512x512, 25 fps, 2 s."""
    from portrait import make_clip

    return make_clip(tmp_path_factory.mktemp("talking") / "talking head.mp4", start=1.0, seconds=2.0)


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory) -> SimpleNamespace:
    """Three clips as preprocess.py leaves them: raw, root, lists."""
    from portrait import make_clip

    folder = tmp_path_factory.mktemp("preprocessed")
    raw = folder / "raw" / "Zoë's talk"
    raw.mkdir(parents=True)
    for i in range(3):
        make_clip(raw / f"clip {i}.mp4", start=2.0 * i, seconds=2.0, seed=i)
    paths = SimpleNamespace(raw=folder / "raw", root=folder / "clips", lists=folder / "lists")
    flags = ["--data_root", paths.raw, "--preprocessed_root", paths.root, "--filelists_dir", paths.lists]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preprocessing.run.run_workers", make_clips_here)
        assert run_quietly("preprocess", *flags) == 0
    return paths


def save_network(path: Path, network_class, seed: int = 0) -> Path:
    import torch

    torch.manual_seed(seed)
    network = network_class(NARROW.width)
    content = {"state_dict": network.state_dict(), "optimizer": None, "global_step": 7, "global_epoch": 1}
    torch.save(content | {"hparams": NARROW.to_dict()}, path)
    return path


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> Path:
    """A checkpoint of a narrow, untrained generator."""
    from models import Wav2Lip

    return save_network(tmp_path_factory.mktemp("generator") / "generator.pth", Wav2Lip)


@pytest.fixture(scope="session")
def expert(tmp_path_factory) -> Path:
    """A checkpoint of a narrow, untrained expert."""
    from models import SyncNet_color

    return save_network(tmp_path_factory.mktemp("expert") / "expert.pth", SyncNet_color)


@pytest.fixture
def expert_run(preprocessed, script):
    """expert_run(folder, values, *flags): a run of the expert's training with these hparams."""
    return lambda folder, values, *flags: script(EXPERT, *where(preprocessed, folder), "--hparams", values, *flags)


def run_quietly(script: str, *arguments) -> int:
    """Run a script in this process as its command line would; returns the exit code."""
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as end:
        cli.run(module.main, module.parse_args, [str(argument) for argument in arguments])
    return end.value.code


@pytest.fixture
def script(capsys):
    """Call a script: script(name, *arguments) -> exit code, what it printed, on stderr too, the error line."""

    def call(name: str, *arguments) -> SimpleNamespace:
        capsys.readouterr()
        code = run_quietly(name, *arguments)
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        return SimpleNamespace(code=code, out=out, err=err, error="\n".join(errors))

    return call


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """One second of speech."""
    import audio
    from portrait import SPEECH

    path = tmp_path_factory.mktemp("speech") / "a speech.wav"
    audio.save_wav(audio.load_wav(SPEECH, 16_000)[16_000:32_000], path, 16_000)
    return path


@pytest.fixture
def dub(generator, talking, speech, tmp_path, script):
    """dub(*arguments) -> the script's result; --face and --audio may be given anew."""

    def call(*arguments):
        given = {"checkpoint_path": generator, "face": talking, "audio": speech, "outfile": tmp_path / "out.mp4"}
        flags = [part for name, value in given.items() for part in (f"--{name}", value)]
        return script("inference", *flags, *arguments)

    return call
