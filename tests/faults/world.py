"""What the campaign disturbs: commands, and a folder with footage, weights, clips and earlier results."""

import atexit
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import av

import audio
import portrait
from conftest import NARROW_TEXT, save_network
from models import SyncNet_color, Wav2Lip
from utils import cli, files, weight_files

ROOT = Path(__file__).resolve().parents[2]
MARK = "FAULT_CASE"  # environment variable with the number of a command's first process
VALUES = (
    f"{NARROW_TEXT},batch_size=2,syncnet_batch_size=4,eval_windows=4,refiner_size=192,"
    "refiner_width=0.125,refiner_references=2,refiner_bank=6,refiner_batch_size=2"
)
CPU = ("--device", "cpu")
TRAINED = ("--data_root", "clips", "--filelists_dir", "lists", "--hparams", VALUES, *CPU, "--precision", "fp32",
           "--max_steps", "2")  # fmt: skip
EXPERT = ("--syncnet_checkpoint_path", "expert.pth")
DUBBED = ("--checkpoint_path", "generator.pth", *CPU, "--engine", "torch", "--precision", "fp32", "--refine", "off",
          "--no_score")  # fmt: skip
COMMANDS = {  # all that they write is in made/
    "dub": ("inference", "--face", "face.mp4", "--audio", "speech.wav", *DUBBED, "--outfile", "made/dub/out.mp4"),
    "jobs": ("inference", *DUBBED, "--jobs", "jobs.csv", "--outfile", "made/jobs"),
    "preprocess": ("preprocess", "--data_root", "raw", "--preprocessed_root", "made/preprocess", "--filelists_dir",
                   "made/preprocess/lists", "--workers", "1", *CPU),
    "expert": ("color_syncnet_train", *TRAINED, "--checkpoint_dir", "made/expert"),
    "generator": ("wav2lip_train", *TRAINED, *EXPERT, "--checkpoint_dir", "made/generator", "--gan"),
    "refiner": ("refiner_train", *TRAINED, *EXPERT, "--checkpoint_dir", "made/refiner", "--generator_path",
                "generator.pth"),
    "evaluate": ("evaluate", "--video", "raw/ann/long.mp4", *EXPERT, *CPU, "--outfile", "made/evaluate/scores.json"),
    "export": ("weights", "export", "generator.pth", "made/export/small.safetensors"),
    "finetune": ("finetune", "--videos", "raw", "--outdir", "made/finetune", "--checkpoint_path", "generator.pth",
                 *EXPERT, *CPU, "--hparams", VALUES, "--seconds", "0.2", "--minutes", "0.01", "--refiner_minutes",
                 "0.01"),
}  # fmt: skip
TRAININGS = ("expert", "generator", "refiner")
RESULTS = (".mp4", ".pth", ".safetensors", ".jpg", ".wav", ".txt")
IGNORED = {"logs", "samples", "side_by_side.mp4"}
STEADY = tuple(name for name in COMMANDS if name != "finetune")  # whose results depend on no clock


class Run:
    """A command in a process forked from this one, which has imported all: that saves seconds each.

    anew: by an interpreter of its own; prepare: called in the process; streams: in place of stdin, stdout and stderr, a
    descriptor each, -1 for one that is closed.
    """

    def __init__(self, folder: Path, command: Sequence[str], anew: bool = False, prepare: Callable = lambda: None,
                 streams: dict[int, int] | None = None) -> None:  # fmt: skip
        self.folder, self._text = folder, b""
        (folder / "tmp").mkdir(exist_ok=True)
        self.began = time.monotonic()
        self._log, log = os.pipe()  # a file would be limited where all files are
        os.set_blocking(self._log, False)
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(command, anew, prepare, streams or {}, log, tell)
        os.close(log)
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)

    def _be(self, command: Sequence[str], anew: bool, prepare: Callable, streams: dict[int, int], log: int, tell: int
            ) -> NoReturn:  # fmt: skip
        """What the forked process does."""
        code = 1
        try:
            os.setsid()
            for number, usual in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
                stream = streams.get(number, usual)
                os.dup2(stream, number) if stream >= 0 else os.close(number)
            os.environ |= {
                MARK: str(os.getpid()), files.CACHE_FOLDER: str(self.folder / "cache"),
                "TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
            }  # fmt: skip
            os.chdir(self.folder)
            prepare()
            if anew:
                os.execv(sys.executable, [sys.executable, str(ROOT / f"{command[0]}.py"), *command[1:]])
            sys.stdin = io.TextIOWrapper(io.FileIO(0))
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w"), write_through=True) for n in (1, 2))
            tempfile.tempdir = None
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = [f"{command[0]}.py", *command[1:]]
            os.write(tell, b".")
            script = import_module(command[0])
            cli.run(script.main, script.parse_args, list(command[1:]))
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            threading._shutdown()  # as the interpreter does at its end
            atexit._run_exitfuncs()
            os._exit(code)

    def kill(self, number: int) -> None:
        """To the process; Ctrl-C and a terminal that is closed, to its group."""
        with suppress(ProcessLookupError):  # it was done before
            (os.killpg if number in (signal.SIGINT, signal.SIGHUP) else os.kill)(self.pid, number)

    def wait(self, limit: float) -> SimpleNamespace:
        """code: minus the signal, where one ended it, None where nothing did in `limit` seconds; text: what it said;
        left: processes that it left, which are killed."""
        pid, status = 0, 0
        while not pid and time.monotonic() < self.began + limit:
            time.sleep(0.02)
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        seconds, deadline = time.monotonic() - self.began, time.monotonic() + (15 if pid else 0)
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.end()
        if not pid:
            os.waitpid(self.pid, 0)
        self._read()
        os.close(self._log)
        text, code = self._text.decode(errors="replace"), os.waitstatus_to_exitcode(status) if pid else None
        return SimpleNamespace(code=code, text=text, seconds=seconds, left=left)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while text := os.read(self._log, 65_536):
                self._text += text

    def end(self) -> None:
        """Kill all its processes."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """Those of its session, and those that were started with its mark, that are alive (Linux)."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                environment = (process / "environ").read_bytes()  # none of a zombie
                marked = f"{MARK}={self.pid}".encode() in environment.split(b"\0")
                if marked or (environment and os.getsid(int(process.name)) == self.pid):
                    found.append(int(process.name))
        return found


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
    """What a command has made, by name; raises ValueError where that is not whole."""
    found = {}
    for path in files_of(folder / "made"):
        try:
            if path.suffix == ".json" and not hidden(path, folder):
                content = json.loads(path.read_text())
                found |= {path.name: json.dumps(content["videos"])} if path.name == "scores.json" else {}
            elif path.suffix in RESULTS and not hidden(path, folder) and not IGNORED & {*path.parts}:
                name = str(path.relative_to(folder))
                found[name] = hashlib.sha256(content_of(path)).hexdigest()
        except Exception as error:
            raise ValueError(f"{path.relative_to(folder)}: {type(error).__name__}: {error}") from error
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
    (folder / "jobs.csv").write_text("face,audio\nface.mp4,speech.wav\nface.mp4,earlier.wav\n")
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
