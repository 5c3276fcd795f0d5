"""The published weight files and the bundled ones: what they are, where they belong, which of them are there; they are
downloaded, imported and verified here, and files that options name are looked for.

Files are told by their SHA-256. The published weights were trained on LRS2 and may not be used commercially.
Small weights trained with this project come with it (checkpoints/README.md). Nothing here needs PyTorch.
"""

import http.client
import os
import shutil
import urllib.parse
import urllib.request
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from utils.errors import InputError
from utils.files import BLOCK, atomic_write, existing_file, failed_download, sha256, writable_folder
from utils.settings import Options

OptionsType = TypeVar("OptionsType", bound=Options)

TIMEOUT = 30  # seconds without an answer
ROOT = Path(__file__).resolve().parent.parent
BROWSER_PAGE = "https://drive.google.com/"  # such an address leads to a page for people, not to the file


@dataclass(frozen=True)
class PublishedFile:
    name: str
    file: str  # below the project's folder
    size: int  # bytes
    sha256: str
    mirrors: tuple[str, ...]  # none: it comes with the project
    note: str
    licence: str

    @property
    def path(self) -> Path:
        return ROOT / self.file

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded by a program."""
        return any(not address.startswith(BROWSER_PAGE) for address in self.mirrors)


HUGGINGFACE = "https://huggingface.co/"
TRAINED_ON_LRS2 = "trained on LRS2: research only, no commercial use"
TRAINED_HERE = "MIT; data: GRID (CC BY 4.0), LAVSE (MIT) and public domain, see checkpoints/README.md"
PUBLISHED = (
    PublishedFile(
        "s3fd", "face_detection/detection/sfd/s3fd.pth", 89_843_225,
        "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
        ("https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
         HUGGINGFACE + "camenduru/Wav2Lip/resolve/main/checkpoints/s3fd-619a316812.pth"),
        "face detector", "of the face-alignment project, BSD 3-Clause",
    ),
    PublishedFile(
        "wav2lip", "checkpoints/wav2lip.pth", 435_807_851,
        "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/wav2lip.pth",),
        "generator, closest lip-sync", TRAINED_ON_LRS2,
    ),
    PublishedFile(
        "wav2lip_gan", "checkpoints/wav2lip_gan.pth", 435_801_865,
        "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/wav2lip_gan.pth",
         HUGGINGFACE + "camenduru/Wav2Lip/resolve/main/checkpoints/wav2lip_gan.pth"),
        "generator, sharper mouth", TRAINED_ON_LRS2,
    ),
    PublishedFile(
        "lipsync_expert", "checkpoints/lipsync_expert.pth", 197_357_631,
        "9b9936c721696446eeed353032cab242a8cf0eed8c46cde540366f6ae5493be5",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/lipsync_expert.pth",),
        "lip-sync expert, frozen in generator training", TRAINED_ON_LRS2,
    ),
    PublishedFile(
        "visual_quality_disc", "checkpoints/visual_quality_disc.pth", 169_382_040,
        "b3f8f6f7e954af02f2ffe0f3ea11f3259af89bff6e70933001c7c6bc8c145d96",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/visual_quality_disc.pth",),
        "discriminator, a start for --gan", TRAINED_ON_LRS2,
    ),
    PublishedFile(
        "wav2lip_sd_gan", "checkpoints/Wav2Lip-SD-GAN.pt", 145_829_145,
        "180cfd49d31d47f195d5bfc62830ffe2c40724b7bbbce6faadc73ac6ab1a3b8e",
        (BROWSER_PAGE + "file/d/15G3U08c8xsCkOqQxE38Z2XXDnPcOptNk",),
        "generator as the authors' page serves it since 2025 (TorchScript)", TRAINED_ON_LRS2,
    ),
)  # fmt: skip
BUNDLED = (
    PublishedFile(
        "wav2lip_small", "checkpoints/wav2lip_small.safetensors", 18_230_590,
        "94a8cae5f8df4ef5c83b6df01929b90f7103ee5a31ccea6ec432574d45459c09", (),
        "generator of half the width, bundled", TRAINED_HERE,
    ),
    PublishedFile(
        "lipsync_expert_small", "checkpoints/lipsync_expert_small.safetensors", 8_276_832,
        "6c3634cbe7c35654751c15c1afb8f056dfc25b8e73cd67891075f2563cc64c08", (),
        "lip-sync expert of half the width, bundled", TRAINED_HERE,
    ),
    PublishedFile(
        "occlusion_small", "checkpoints/occlusion_small.safetensors", 457_776,
        "d20cb01d9adbafac9a203c1307abc8cecc351ca4229d832aad4f2d88713b55c2", (),
        "network behind --occlusion, bundled", TRAINED_HERE,
    ),
)  # fmt: skip
BUNDLED_GENERATOR, BUNDLED_EXPERT, BUNDLED_OCCLUSION = (file.path for file in BUNDLED)
PUBLISHED_SCORER = ROOT / "checkpoints" / "syncnet_v2.model"  # of the field's LSE-D and LSE-C; to be put there by hand
PUBLISHED_EXPERT = ROOT / "checkpoints" / "lipsync_expert.pth"
EXPERTS = (PUBLISHED_EXPERT, BUNDLED_EXPERT)  # the best first
GENERATORS = ("wav2lip_gan", "wav2lip", "wav2lip_sd_gan")  # the best first


def all_files() -> tuple[PublishedFile, ...]:
    return (*PUBLISHED, *BUNDLED)


def published(name: str) -> PublishedFile:
    """The file of this name, published or bundled; InputError names those there are."""
    known = {file.name: file for file in all_files()}
    if name not in known:
        raise InputError(f"{name}: unknown; choose from {', '.join(known)}")
    return known[name]


def default_generator() -> Path:
    """The best generator that is there: a published one before the bundled one."""
    paths = [*(published(name).path for name in GENERATORS), BUNDLED_GENERATOR]
    return _existing(paths, "--checkpoint_path")[0]


def default_expert() -> Path:
    """The best lip-sync expert that is there."""
    return _existing([*EXPERTS], "--syncnet_checkpoint_path")[0]


def default_scorers() -> list[Path]:
    """All weights that are there and that lip-sync can be scored with."""
    return _existing([PUBLISHED_SCORER, *EXPERTS], "--syncnet_checkpoint_path")


def _existing(paths: list[Path], flag: str) -> list[Path]:
    found = [path for path in paths if path.is_file()]
    if not found:
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in paths)
        raise InputError(f"{flag}: not given, and none of {names} exists; `python weights.py list` says more")
    return found


def fetch(file: PublishedFile) -> None:
    """Download a file to its place from the first mirror that has it; nothing unverified gets the final name."""
    found = state(file)
    if found == "there":
        print(f"{file.name}: {file.file} exists already")
        return
    if found != "missing":
        raise InputError(f"{file.name}: {file.file} is {found}; delete it, then fetch again")
    if not file.mirrors:
        raise InputError(f"{file.name}: {_how_to_get(file)}")
    writable_folder(file.path.parent, file.name)
    problems = []
    for address in file.mirrors:
        try:
            _download(address, file)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            problems.append(f"{urllib.parse.urlsplit(address).hostname}: {reason}")
        else:
            print(f"{file.name}: {file.file}, verified")
            return
    raise InputError(
        f"{file.name}: {'; '.join(problems)}; download {file.mirrors[0]} elsewhere, then run "
        f"`python weights.py import FILE` or put it at {file.file}"
    )


def _download(address: str, file: PublishedFile) -> None:
    if address.startswith(BROWSER_PAGE):
        raise ValueError("must be downloaded with a browser")
    from utils.progress import Progress  # needs tqdm, which `weights.py --help` does without

    with atomic_write(file.path) as temporary, urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        with temporary.open("wb") as out, Progress(desc=file.name, unit="B", total=file.size) as progress:
            while block := response.read(BLOCK):
                out.write(block)
                progress.update(len(block))
        if sha256(temporary) != file.sha256:
            raise ValueError("serves another file, or the connection broke off")


def import_file(source: Path) -> None:
    """Copy a file that turns out to be a published or bundled one to its place."""
    digest = sha256(existing_file(source))
    file = next((file for file in all_files() if file.sha256 == digest), None)
    if file is None:
        raise InputError(f"{source}: {_why_not_published(source)}")
    writable_folder(file.path.parent, file.name)
    with atomic_write(file.path) as temporary:
        shutil.copyfile(source, temporary)
    print(f"{file.name}: {file.file}, verified")


def _why_not_published(path: Path) -> str:
    """What to do with a file that is none of the published ones."""
    if kind := failed_download(path):
        return f"is {kind}, not the weights; download the file itself"
    file, size = _of_name(path), path.stat().st_size
    if file and size < file.size:
        return f"is truncated, or is not {file.name}: {size:,} of {file.size:,} bytes; download it again"
    return "is none of the published files byte for byte; other weights need no import, give their path to the scripts"


def state(file: PublishedFile) -> str:
    """there (by its size alone, which takes no time), missing, or what else is in the file's place."""
    if not file.path.exists():
        return "missing"
    size = file.path.stat().st_size
    return "there" if size == file.size else f"not it ({_difference(file)}, {size:,} bytes)"


def _difference(file: PublishedFile) -> str:
    return failed_download(file.path) or "another file, or a part of it"


def verify() -> int:
    """Check every published or bundled file that is there; returns how many are. Raises InputError naming those that
    differ."""
    present = [file for file in all_files() if file.path.exists()]
    wrong = [file for file in present if state(file) != "there" or sha256(file.path) != file.sha256]
    if wrong:
        names = ", ".join(f"{file.file} ({_difference(file)})" for file in wrong)
        sources = {"`python weights.py fetch`" if file.mirrors else "`git checkout`" for file in wrong}
        raise InputError(
            f"not as published: {names}; delete them and get them again with {' or '.join(sorted(sources))}"
        )
    return len(present)


def ensure_weights(options: OptionsType, fetch_missing: bool = False) -> OptionsType:
    """The options, once every weight file that they name is there. A published file that is missing is used from its
    place, and with fetch_missing downloaded to it. Raises InputError, which says how to get the file, for any other."""
    changes = {}
    for setting in fields(options):
        value = getattr(options, setting.name)
        if not setting.metadata["weights"] or value is None:
            continue
        otherwise = "" if setting.default is MISSING else ", or leave the flag out"
        paths = value if isinstance(value, tuple) else (value,)
        there = tuple(_ensured(path, f"--{setting.name}", fetch_missing, otherwise) for path in paths)
        changes[setting.name] = there if isinstance(value, tuple) else there[0]
    if getattr(options, "face_detector", "") == "sfd":
        _ensured(published("s3fd").path, "--face_detector sfd:", fetch_missing, ", or use retinaface")
    return replace(options, **changes)


def _ensured(path: Path, flag: str, fetch_missing: bool, otherwise: str) -> Path:
    """otherwise: what else can be done where a published file is missing."""
    file = _of_name(path)
    if path.exists() or file is None:
        return existing_file(path, flag)
    if file.path.exists():
        return file.path
    if fetch_missing and file.fetchable and os.environ.get("WORLD_SIZE", "1") == "1":  # not each process of torchrun
        fetch(file)
        return file.path
    if not otherwise and "expert" in file.name:
        otherwise = f", or give checkpoints/{BUNDLED_EXPERT.name}"
    raise InputError(f"{flag} {path}: no such file; {_how_to_get(file)}{otherwise if file.mirrors else ''}")


def _of_name(path: Path) -> PublishedFile | None:
    """The published or bundled file of this name, wherever it was looked for."""
    return next((file for file in all_files() if file.path.name.lower() == path.name.lower()), None)


def _how_to_get(file: PublishedFile) -> str:
    if not file.mirrors:
        return f"it comes with the project, `git checkout {file.file}` brings it back"
    if not file.fetchable:
        return f"download it from {file.mirrors[0]} with a browser, then run `python weights.py import FILE`"
    return f"`python weights.py fetch {file.name}` gets it ({file.size / 1e6:.0f} MB, as {file.file})"
