"""The faults: each is a function that disturbs a command, and notes what is wrong with what comes of it."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from world import COMMANDS, TRAININGS, Run, copy_world, files_of, hidden, results

OF_OTHERS = ("torchinductor_", ".ses")  # what PyTorch and ONNX Runtime leave in the folder for temporary files


class Case:
    """One command in a folder of its own. reference: how it ends undisturbed; story: what was done; problems: what was
    seen that is not right."""

    def __init__(self, number: int, kind: str, command: str, world: Path, folder: Path, reference: dict) -> None:
        self.random, self.kind, self.command = random.Random(number), kind, command
        self.folder, self.reference = folder, reference
        self.story: list[str] = []
        self.problems: list[str] = []
        copy_world(world, folder, command)
        self.before = {path: path.read_bytes() for path in files_of(folder)}

    def run(self, workers: bool = False, file_limit: int = 0) -> Run:
        """workers: one loads a training's batches."""
        given = [word.replace("num_workers=0", f"num_workers={int(workers)}") for word in COMMANDS[self.command]]
        return Run(self.folder, given, file_limit)

    def wait(self, run: Run) -> SimpleNamespace:
        ended = run.wait(max(60.0, 20 * self.reference["seconds"]))
        self.story.append(f"exit code {ended.code}: …{ended.text[-700:]}")
        return ended

    def check(self, ended: SimpleNamespace, same: bool = True, partly: bool = False, signalled: int = 0) -> bool:
        """Whether the command did its work, the reference's where it is to be the same; notes what is wrong with how it
        ended. partly: it may leave something out and say so."""
        lines = ended.text.rstrip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        done = ended.code == self.reference["code"] or (partly and ended.code in (0, 1))
        killed = ended.code == -signal.SIGKILL == -signalled
        wrong = {
            "it hung": ended.code is None,
            "a traceback": any(sign in ended.text for sign in ("Traceback", "Exception ignored", "Fatal Python")),
            f"{len(errors)} lines of errors": ended.code == 2 and len(errors) != 1 and not (done or partly),
            f"last line {lines[-1:]}": ended.code == 130 and not (signalled and lines and lines[-1] == "interrupted"),
            f"exit code {ended.code}": not done and ended.code not in (2, 130) and not killed,
            f"processes left: {ended.left}": bool(ended.left),
        }
        self.problems += [what for what, is_so in wrong.items() if is_so]
        if done and same:
            self.same()
        return done

    def same(self, but: str = "no folder") -> None:
        """The results are the undisturbed command's, those in a folder of the name `but` excepted."""
        made, expected = results(self.folder), self.reference["results"]
        different = (name for name in expected | made if expected.get(name) != made.get(name))
        wrong = sorted(name for name in different if but not in Path(name).parts)
        if wrong:
            self.problems.append(f"another result: {', '.join(wrong[:5])}")

    def kept(self, damaged: Path | None = None) -> None:
        """What was there before is there, and all results are whole."""
        if damaged is None or "made" not in damaged.parts:
            results(self.folder)
        for path, content in self.before.items():
            place = path.relative_to(self.folder)
            made = place.parts[0] in ("made", "cache") or path.suffix in (".npy", ".html") or path.name == "cache.json"
            if not made and path != damaged and not (path.exists() and path.read_bytes() == content):
                self.problems.append(f"lost: {place} is not what it was")

    def tidy(self) -> None:
        left = {path for path in files_of(self.folder) if hidden(path, self.folder)} - self.before.keys()
        left |= set((self.folder / "tmp").glob("*"))
        names = sorted(str(path.relative_to(self.folder)) for path in left if not path.name.startswith(OF_OTHERS))
        if names:
            self.problems.append(f"left behind: {', '.join(names[:5])}")

    def again(self, but: str = "no folder") -> None:
        """The same command, undisturbed, ends as if nothing had been, but for the results in a folder of that name."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        ended = self.wait(self.run())
        if ended.code != self.reference["code"] and "nothing to do" not in ended.text:
            self.problems.append(f"given again it ends with {ended.code}")
        self.same(but)
        self.tidy()


def signals(case: Case) -> None:
    """A signal at any time."""
    number = case.random.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    delay = case.random.uniform(0.02, 1.0) * case.reference["seconds"]
    case.story.append(f"{signal.Signals(number).name} after {delay:.2f} s")
    run = case.run(workers=case.random.random() < 0.4)
    time.sleep(delay)
    run.kill(number)
    case.check(case.wait(run), signalled=number)
    case.kept()
    if number != signal.SIGKILL:
        case.tidy()
    case.again()


def full_disk(case: Case) -> None:
    """No file may grow beyond some size."""
    limit, partly = int(10 ** case.random.uniform(2, 6)), case.command == "preprocess"
    case.story.append(f"no file above {limit} bytes")
    ended = case.wait(case.run(file_limit=limit, workers=case.random.random() < 0.3))
    case.check(ended, same=not partly, partly=partly)  # with exit code 1, and a line for each part that fails
    case.kept()
    case.tidy()
    case.again("lists" if ended.code == 1 else "no folder")  # a clip stays in the list that it was given first


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file, and say how."""
    content = path.read_bytes()
    place, flipped = chance.randrange(len(content)), bytearray(content)
    flipped[place] ^= 1 << chance.randrange(8)
    others = {"empty": b"", "noise": chance.randbytes(len(content)), "text": b"<!DOCTYPE html>\n", "json": b"null"}
    how, made = chance.choice([*others.items(), *[("cut off", content[:place]), ("one bit", bytes(flipped))] * 2])
    path.write_bytes(made)
    return f"{path}: {how} at {place} of {len(content)} bytes"


DAMAGED = {  # which files, by command
    "damaged media": {"dub": "face.mp4 speech.wav", "preprocess": "raw/ann/*.mp4"},
    "damaged weights": {"dub": "generator.pth", "export": "generator.pth", "generator": "expert.pth"},
    "damaged caches": {
        "dub": "cache/**/*.faces", **dict.fromkeys(TRAININGS, "clips/*/*/*.npy clips/*/*/cache.*"),
    },
    "damaged records": {
        "dub": "made/dub/out.mp4.json",
        **{name: f"made/{name}/run.json made/{name}/*.pth clips/*/*/clip.json" for name in TRAININGS},
    },
}  # fmt: skip


def damaged(case: Case) -> None:
    """One of the files is damaged. Caches do not matter; with other weights the command does not work; what is lost
    with media and records may be left out."""
    same = case.kind in ("damaged weights", "damaged caches")
    pattern = case.random.choice(DAMAGED[case.kind][case.command].split())
    path = case.random.choice(sorted(path for path in case.folder.glob(pattern) if path.stat().st_size))
    case.story.append(damage(path, case.random))
    done = case.check(case.wait(case.run()), same=same, partly=not same)
    if not done and case.kind == "damaged caches":
        case.problems.append("this is no reason to fail")
    case.kept(path)
    case.tidy()


def two_at_once(case: Case) -> None:
    """The same command twice at a time: both do it, or one is refused; the result is one of them, whole."""
    first = case.run()
    time.sleep(case.random.uniform(0, 0.5) * case.reference["seconds"])
    runs = (first, case.run())
    done = [case.check(case.wait(run), same=False) for run in runs]
    if not any(done):
        case.problems.append("both fail")
    case.same()
    case.tidy()


KINDS: list[tuple[str, Callable[[Case], None], str]] = [  # and the commands that each is tried on, in turn
    ("signals", signals, "dub expert preprocess generator export"),
    ("full disk", full_disk, "expert dub preprocess generator export"),
    *((kind, damaged, " ".join(commands)) for kind, commands in DAMAGED.items()),
    ("two at once", two_at_once, "dub export expert preprocess generator"),
    ("signals", signals, "preprocess dub expert generator dub"),
]


def planned(number: int) -> tuple[str, Callable[[Case], None], str]:
    """Kind of a case, its fault, and the command that it is tried on."""
    kind, fault, commands = KINDS[number % len(KINDS)]
    each = commands.split()
    return kind, fault, each[number // len(KINDS) % len(each)]
