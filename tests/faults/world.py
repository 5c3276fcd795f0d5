"""What the campaign disturbs: commands, and a folder with footage, weights, clips and earlier results."""

import atexit
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace

import av

import audio
import portrait
from conftest import NARROW_TEXT, save_network
from models import SyncNet_color, Wav2Lip
from utils import cli, files, weight_files

ROOT = Path(__file__).resolve().parents[2]
VALUES = f"{NARROW_TEXT},batch_size=2,syncnet_batch_size=4,eval_windows=4"
CPU = ("--device", "cpu", "--precision", "fp32")
TRAINED = ("--data_root", "clips", "--filelists_dir", "lists", "--hparams", VALUES, *CPU, "--max_steps", "2")
DUBBED = (*CPU, "--checkpoint_path", "generator.pth", "--engine", "torch", "--no_score")
COMMANDS = {  # all that they write is in made/
    "dub": ("inference", "--face", "face.mp4", "--audio", "speech.wav", *DUBBED, "--outfile", "made/dub/out.mp4"),
    "preprocess": ("preprocess", "--data_root", "raw", "--preprocessed_root", "made/preprocess", "--filelists_dir",
                   "made/preprocess/lists", "--workers", "1", "--device", "cpu"),
    "expert": ("color_syncnet_train", *TRAINED, "--checkpoint_dir", "made/expert"),
    "generator": ("wav2lip_train", *TRAINED, "--syncnet_checkpoint_path", "expert.pth", "--checkpoint_dir",
                  "made/generator", "--gan"),
    "export": ("weights", "export", "generator.pth", "made/export/small.safetensors"),
}  # fmt: skip
TRAININGS = ("expert", "generator")
RESULTS = (".mp4", ".pth", ".safetensors", ".jpg", ".wav", ".txt")


class Run:
    """A command in a process forked from this one, which has imported all: that saves seconds each.

    file_limit: bytes above which no file may grow.
    """

    def __init__(self, folder: Path, command: Sequence[str], file_limit: int = 0) -> None:
        (folder / "tmp").mkdir(exist_ok=True)
        self.began = time.monotonic()
        self._log, log = os.pipe()  # a file would be limited where all files are
        fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 1 << 20)  # bytes, more than any command says
        fork = multiprocessing.get_context("fork")
        ready = fork.Event()
        self.process = fork.Process(target=be, args=(folder, command, file_limit, log, ready))
        self.process.start()
        os.close(log)
        ready.wait()

    def kill(self, number: int) -> None:
        """To the process; Ctrl-C and a terminal that is closed, to its group."""
        with suppress(ProcessLookupError):  # it was done before
            (os.killpg if number in (signal.SIGINT, signal.SIGHUP) else os.kill)(self.process.pid, number)

    def wait(self, limit: float) -> SimpleNamespace:
        """code: minus the signal, where one ended it, None where nothing did in `limit` seconds; text: what it said;
        left: processes that it left, which are killed."""
        self.process.join(limit)
        code, seconds = self.process.exitcode, time.monotonic() - self.began
        deadline = time.monotonic() + (0 if code is None else 15)
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.end()
        with os.fdopen(self._log, errors="replace") as log:
            return SimpleNamespace(code=code, text=log.read(), seconds=seconds, left=left)

    def end(self) -> None:
        """Kill all its processes."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """Those of its session that are alive (Linux)."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if os.getsid(int(process.name)) == self.process.pid and (process / "environ").read_bytes():  # no zombie
                    found.append(int(process.name))
        return found


def be(folder: Path, command: Sequence[str], file_limit: int, log: int, ready: Event) -> None:
    """What the forked process does."""
    os.setsid()
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(stream, number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0))
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w"), write_through=True) for n in (1, 2))
    os.environ |= {files.CACHE_FOLDER: str(folder / "cache"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    os.chdir(folder)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    tempfile.tempdir, sys.argv = None, [f"{command[0]}.py", *command[1:]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ready.set()
    try:
        script = import_module(command[0])
        cli.run(script.main, script.parse_args, list(command[1:]))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        atexit._run_exitfuncs()


def content_of(path: Path) -> bytes:
    """Decoded pictures and sound, tensors, or bytes: what is equal after equal work."""
    if path.suffix in (".pth", ".safetensors"):
        state = weight_files.read(path)["state_dict"]
        return b"".join(state[name].contiguous().numpy().tobytes() for name in sorted(state))
    if path.suffix != ".mp4":
        return path.read_bytes()
    with av.open(str(path)) as file:
        frames = list(file.decode(*file.streams.video[:1], *file.streams.audio[:1]))
    if json.loads(Path(f"{path}.json").read_text())["frames"] != sum(isinstance(f, av.VideoFrame) for f in frames):
        raise ValueError("its record is of another dub")
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


def results(folder: Path) -> dict[str, str]:
    """The hashes of what a command has made, by name; an error where that is not whole."""
    found = {}
    for path in files_of(folder / "made"):
        if hidden(path, folder) or {"logs", "samples"} & {*path.parts}:
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in RESULTS:
            found[str(path.relative_to(folder))] = hashlib.sha256(content_of(path)).hexdigest()
    return found


def files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock")]


def hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def copy_world(world: Path, folder: Path, command: str) -> None:
    """A copy of the folder for one case, with the earlier results of its command alone."""
    shutil.copytree(world, folder)
    for made in (folder / "made").iterdir():
        if made.name != command:
            shutil.rmtree(made)


def make_world(folder: Path, commands: set[str]) -> None:
    """The folder that every case gets a copy of, with earlier results of the commands that will be disturbed."""
    (folder / "raw" / "ann").mkdir(parents=True)
    portrait.make_clip(folder / "raw" / "ann" / "long.mp4", start=1.0, seconds=1.6)
    portrait.make_clip(folder / "raw" / "ann" / "other.mp4", start=4.0, seconds=0.6, seed=1)
    portrait.make_clip(folder / "face.mp4", start=2.0, seconds=0.6, seed=2)
    sound = audio.load_wav(portrait.SPEECH, 16_000)
    audio.save_wav(sound[16_000:25_600], folder / "speech.wav", 16_000)
    audio.save_wav(sound[30_000:36_400], folder / "earlier.wav", 16_000)
    save_network(folder / "generator.pth", Wav2Lip)
    save_network(folder / "expert.pth", SyncNet_color)
    first = {"preprocess": ("--preprocessed_root", "clips", "--filelists_dir", "lists")}
    first |= {"dub": ("--audio", "earlier.wav"), **dict.fromkeys(TRAININGS, ("--max_steps", "1"))}
    for name in [name for name in first if name in commands | {"preprocess"}]:
        ended = Run(folder, (*COMMANDS[name], *first[name])).wait(600)
        assert ended.code in (0, 1), ended.text
    shutil.rmtree(folder / "tmp")


def reference(folder: Path, command: str) -> dict:
    """How the command ends undisturbed."""
    copy_world(folder / "world", folder / command, command)
    ended = Run(folder / command, COMMANDS[command]).wait(600)
    assert ended.code in (0, 1), ended.text
    return {"code": ended.code, "seconds": ended.seconds, "results": results(folder / command)}
