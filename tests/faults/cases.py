"""The faults: each is a function that disturbs a command, and notes what is wrong with what comes of it."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from world import COMMANDS, STEADY, TRAININGS, Run, copy_world, files_of, hidden, results

OUTCOMES = ("lost", "traceback", "hung", "silent", "left behind", "no single line")
OF_OTHERS = ("torchinductor_", ".ses")  # what PyTorch and ONNX Runtime leave in the folder for temporary files
NAMES = [
    "a b", " a", "a ", "a\tb", "a\nb", "a\rb", "a\x0bb", "a\x0cb", "a\x85b", "a\u2028b", "ü", "日本語", "👄", "a'b",
    "a;b", "a|b", "$(a)", "%d", "%05d", "a{b}", "[a]", "*", "#a", "-a", "--face", "a,b", "a:b", "file:a", "http:a", "~",
    "a\\b", 'a"b', "...a", "a.mp4", os.fsdecode(b"a\xffb"), "n" * 237, "n" * 245, "é" * 118, "CON", "null", "concat:a",
]  # fmt: skip


class Case:
    """One command in a folder of its own. reference: how it ends undisturbed; story: what was done; problems: (outcome,
    what was seen)."""

    def __init__(self, number: int, kind: str, command: str, world: Path, folder: Path, reference: dict) -> None:
        self.random, self.kind, self.command = random.Random(number), kind, command
        self.folder, self.reference = folder, reference
        self.story: list[str] = []
        self.problems: list[tuple[str, str]] = []
        self.runs: list[Run] = []
        copy_world(world, folder, command)
        self.before = {path: path.read_bytes() for path in files_of(folder)}

    def run(self, command: Sequence[str] = (), workers: int = 0, **how) -> Run:
        """workers: that load a training's batches."""
        given = (word.replace("num_workers=0", f"num_workers={workers}") for word in command or COMMANDS[self.command])
        self.runs.append(Run(self.folder, list(given), **how))
        return self.runs[-1]

    def end(self) -> None:
        for run in self.runs:
            run.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, run: Run) -> SimpleNamespace:
        ended = run.wait(max(60.0, 20 * self.reference["seconds"]))
        self.story.append(f"exit code {ended.code}: …{ended.text[-700:]}")
        return ended

    def check(self, ended: SimpleNamespace, same: bool = True, partly: bool = False, signalled: int = 0) -> bool:
        """Whether the command did its work, the reference's where it is to be the same; notes what is wrong with how it
        ended. partly: it may leave something out and say so."""
        lines, usual = ended.text.rstrip().splitlines(), self.reference["code"]
        errors = [line for line in lines if line.startswith("error: ")]
        done = ended.code == usual or (partly and ended.code in (0, 1))
        wrong = self.problems.append
        if ended.code is None:
            wrong(("hung", "it was killed"))
        elif any(sign in ended.text for sign in ("Traceback", "Exception ignored", "Fatal Python")):
            wrong(("traceback", ended.text[-600:]))
        elif done and same:
            self.same("silent")
        elif ended.code == 2 and len(errors) != 1 and not partly:
            wrong(("no single line", f"{len(errors)} lines"))
        elif ended.code == 130 and not (signalled and lines and lines[-1] == "interrupted"):
            wrong(("no single line", f"exit code 130, last line {lines[-1:]}"))
        elif not done and ended.code not in (2, 130) and (ended.code, signalled) != (-signal.SIGKILL, signal.SIGKILL):
            wrong(("no single line" if errors else "silent", f"exit code {ended.code}"))
        if ended.left:
            wrong(("left behind", f"processes {ended.left}"))
        return done

    def same(self, outcome: str) -> None:
        """The results are the undisturbed command's."""
        try:
            made, expected = results(self.folder), self.reference["results"]
            wrong = sorted(name for name in expected | made if expected.get(name) != made.get(name))
        except ValueError as error:
            wrong = [f"not whole: {error}"]
        if wrong and self.command != "finetune":
            self.problems.append((outcome, f"another result: {', '.join(wrong[:5])}"))

    def kept(self, damaged: Path | None = None) -> None:
        """What was there before is there, and all results are whole."""
        try:
            if damaged is None or "made" not in damaged.parts:
                results(self.folder)
        except ValueError as error:
            self.problems.append(("lost", str(error)))
        for path, content in self.before.items():
            place = path.relative_to(self.folder)
            made = place.parts[0] in ("made", "cache") or path.suffix in (".npy", ".html") or path.name == "cache.json"
            if not made and path != damaged and not (path.exists() and path.read_bytes() == content):
                self.problems.append(("lost", f"{place} is not what it was"))

    def tidy(self) -> None:
        left = {path for path in files_of(self.folder) if hidden(path, self.folder)} - self.before.keys()
        left |= set((self.folder / "tmp").glob("*"))
        names = sorted(str(path.relative_to(self.folder)) for path in left if not path.name.startswith(OF_OTHERS))
        if names:
            self.problems.append(("left behind", ", ".join(names[:5])))

    def again(self) -> None:
        """The same command, undisturbed, ends as if nothing had been."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        ended = self.wait(self.run())
        if ended.code != self.reference["code"] and "nothing to do" not in ended.text:
            self.problems.append(("lost", f"given again it ends with {ended.code}"))
        self.same("lost")
        self.tidy()


def signals(case: Case) -> None:
    """A signal at any time, at times a second one."""
    number = case.random.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    anew, twice, workers = (case.random.random() < chance for chance in (0.15, 0.2, 0.4))
    delay = case.random.uniform(0.02, 1.0) * case.reference["seconds"] + (0.5 if anew else 0)
    case.story.append(f"{signal.Signals(number).name}{' twice' if twice else ''} after {delay:.2f} s, anew: {anew}")
    run = case.run(anew=anew, workers=workers)
    time.sleep(delay)
    run.kill(number)
    if twice:
        time.sleep(case.random.uniform(0, 0.5))
        run.kill(number)
    case.check(case.wait(run), signalled=number)
    case.kept()
    if number != signal.SIGKILL:
        case.tidy()
    case.again()


def full_disk(case: Case) -> None:
    """No file may grow beyond some size; or what is made goes to a small disk, which root can make."""
    made, disk, limit = case.folder / "made", case.folder / "disk", int(10 ** case.random.uniform(2, 6))
    size = sum(path.stat().st_size // 4096 * 4096 + 8192 for path in files_of(made)) + 65_536 + limit
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    disk.mkdir()
    small = case.random.random() < 0.4 and subprocess.run(mount, capture_output=True).returncode == 0
    case.story.append(f"{'room for' if small else 'no file above'} {limit} bytes")
    quota = (lambda: None) if small else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    partly = case.command in ("jobs", "preprocess")  # exit code 1, and a line for each part that fails
    try:
        if small:
            made.rename(case.folder / "earlier")
            shutil.copytree(case.folder / "earlier", disk, dirs_exist_ok=True)
            made.symlink_to(disk)
        ended = case.wait(case.run(prepare=quota, workers=case.random.random() < 0.3))
        case.check(ended, same=not partly, partly=partly)
        case.kept()
        case.tidy()
        if small:
            made.unlink()
            shutil.copytree(disk, made)
    finally:
        if small:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    case.again()


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file, and say how."""
    content = path.read_bytes()
    size, at = len(content), chance.randrange(len(content))
    how = chance.choice(["cut", "cut", "empty", "zeros", "flips", "flips", "noise", "text"])
    texts = [b"<!DOCTYPE html>\n", b"[" * 100_000, b"\xff\xfe", b"null", b"{}", b"\0" * 512, b"a\n"]
    end, flipped = min(size, at + chance.randrange(1, size + 1)), bytearray(content)
    for _ in range(chance.choice([1, 1, 10, 100])):
        flipped[chance.randrange(size)] ^= 1 << chance.randrange(8)
    made = {
        "cut": content[:at], "empty": b"", "zeros": content[:at] + bytes(end - at) + content[end:], "flips": flipped,
        "noise": chance.randbytes(size), "text": chance.choice(texts),
    }[how]  # fmt: skip
    path.write_bytes(made)
    return f"{path}: {how}, {size} → {len(made)} bytes"


DAMAGED: dict[str, tuple[dict[str, str], dict[str, bool]]] = {  # files by command; what may come of it
    "damaged media": ({
        "dub": "face.mp4 speech.wav", "jobs": "face.mp4 speech.wav", "preprocess": "raw/ann/*.mp4",
        "evaluate": "raw/ann/long.mp4",
    }, {"same": False, "partly": True}),
    "damaged weights": ({
        "dub": "generator.pth", "export": "generator.pth", "refiner": "generator.pth", "evaluate": "expert.pth",
        "generator": "expert.pth",
    }, {}),
    "damaged caches": ({
        "dub": "cache/**/*.faces", **dict.fromkeys(TRAININGS, "clips/*/*/*.npy clips/*/*/cache.*"),
    }, {"refused": False}),
    "damaged lists": ({"jobs": "jobs.csv", "expert": "lists/*.txt"}, {"same": False, "partly": True}),
    "damaged records": ({
        "dub": "made/dub/out.mp4.json", "preprocess": "made/preprocess/**/*.json",
        **{name: f"made/{name}/run.json made/{name}/*.pth clips/*/*/clip.json" for name in TRAININGS},
    }, {"same": False, "partly": True}),
}  # fmt: skip


def damaged(case: Case) -> None:
    """One of the files is damaged: the command makes what it made without that, or something where it need not be the
    same, or is refused where it may be."""
    patterns, settings = DAMAGED[case.kind]
    may = {"same": True, "partly": False, "refused": True} | settings
    if case.kind == "damaged records" and case.command == "preprocess":
        case.wait(case.run())
    pattern = case.random.choice(patterns[case.command].split())
    path = case.random.choice(sorted(path for path in case.folder.glob(pattern) if path.stat().st_size))
    case.story.append(damage(path, case.random))
    if not case.check(case.wait(case.run()), may["same"], may["partly"]) and not may["refused"]:
        case.problems.append(("no single line", "this is no reason to fail"))
    case.kept(path)
    case.tidy()


def names(case: Case) -> None:
    """What is read or written has any name that the file system takes; a clip that is listed is found again."""
    role = case.random.choice(["--face", "--audio", "--outfile"]) if case.command == "dub" else ""
    command, name = list(COMMANDS[case.command]), case.random.choice(NAMES)
    place = command.index(role) + 1 if role else 0
    old = case.folder / (command[place] if role else "raw/ann/other.mp4")
    new = old.with_name(name + old.suffix)
    case.story.append(f"{role or 'clip'} is called {new.name!r}")
    try:
        old.rename(new)
        if role == "--outfile":
            Path(f"{old}.json").unlink()
            new.unlink()
    except OSError:  # there can be no such file here
        return
    if role:
        command[place] = f"./{new.relative_to(case.folder)}"
    done = case.check(case.wait(case.run(command)), same=role in ("--face", "--audio"))
    if not done and len(os.fsencode(new.name)) <= 240 and name.isprintable():
        case.problems.append(("no single line", "the name is refused"))
    elif done and role == "--outfile" and set(results(case.folder).values()) != {*case.reference["results"].values()}:
        case.problems.append(("silent", "another result"))
    elif done and not role:
        places = ("--data_root", "made/preprocess", "--filelists_dir", "made/preprocess/lists", "--max_steps", "1")
        ended = case.wait(case.run((*COMMANDS["expert"], *places)))
        if ended.code not in (0, 1):
            case.problems.append(("silent", f"no training finds the clip: {ended.text[-300:]}"))
    case.tidy()


def two_at_once(case: Case) -> None:
    """The same command twice at a time: both do it, or one is refused; the result is one of them, whole."""
    first = case.run()
    time.sleep(case.random.uniform(0, 0.5) * case.reference["seconds"])
    runs = (first, case.run())
    done = [case.check(case.wait(run), same=False) for run in runs]
    if not any(done):
        case.problems.append(("lost", "both fail"))
    case.same("lost")
    case.tidy()


def streams(case: Case) -> None:
    """Streams that are closed, full, or whose reader has gone: the work is done all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    kinds = {"closed": -1, "broken": writer, "full": os.open("/dev/full", os.O_WRONLY)}
    which, kind = case.random.choice([(0,), (1,), (1,), (2,), (2,), (1, 2)]), case.random.choice(sorted(kinds))
    case.story.append(f"streams {which} {kind}")
    run = case.run(anew=True, streams=dict.fromkeys(which, kinds[kind]))
    for descriptor in (writer, kinds["full"]):
        os.close(descriptor)
    ended = case.wait(run)
    if ended.code not in (0, 1, 2) or "Traceback" in ended.text:
        case.problems.append(("traceback" if "Traceback" in ended.text else "silent", f"exit code {ended.code}"))
    case.same("lost")
    case.tidy()


KINDS: list[tuple[str, Callable[[Case], None], str]] = [  # and the commands that each is tried on, in turn
    ("signals", signals, "dub expert preprocess generator jobs refiner evaluate export finetune"),
    ("full disk", full_disk, " ".join(STEADY)),
    ("damaged media", damaged, "dub preprocess evaluate dub jobs"),
    ("damaged weights", damaged, "dub export evaluate generator refiner"),
    ("damaged caches", damaged, "expert dub generator refiner"),
    ("names", names, "dub preprocess dub"),
    ("signals", signals, "jobs dub evaluate expert preprocess generator dub refiner"),
    ("damaged lists", damaged, "jobs expert"),
    ("damaged records", damaged, "dub expert preprocess generator refiner"),
    ("streams", streams, "export dub evaluate expert jobs preprocess generator refiner"),
    ("two at once", two_at_once, "dub export expert preprocess jobs generator evaluate refiner"),
    ("full disk", full_disk, "expert dub jobs preprocess generator refiner evaluate"),
]


def planned(number: int) -> tuple[str, Callable[[Case], None], str]:
    """Kind of a case, its fault, and the command that it is tried on."""
    kind, fault, commands = KINDS[number % len(KINDS)]
    each = commands.split()
    return kind, fault, each[number // len(KINDS) % len(each)]
