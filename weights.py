"""The published weight files: what they are, where they belong, and getting them there.

    python weights.py list                          # every file, its place, whether it is there
    python weights.py fetch s3fd wav2lip_gan        # download; an interrupted download goes on where it was
    python weights.py import ~/Downloads/file.pth   # put a file that you have in its place, whatever its name
    python weights.py verify                        # check every file that is there
    python weights.py export best.pth mine.safetensors   # weights alone in half precision, to keep or to share

Files are told by their SHA-256. The published weights were trained on LRS2 and may not be used commercially.
Small weights trained with this project come with it (checkpoints/README.md).
"""

import argparse
import hashlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from tqdm import tqdm

import checkpoint
import cli
from cli import InputError

ROOT = Path(__file__).resolve().parent
BLOCK = 1 << 20  # bytes
TIMEOUT = 30  # seconds without an answer
WEB_PAGE = "https://drive.google.com/"  # such an address leads to a page for people, not to the file


@dataclass(frozen=True)
class Weights:
    name: str
    file: str  # below the project's folder
    size: int  # bytes
    sha256: str
    mirrors: tuple[str, ...]
    note: str

    @property
    def path(self) -> Path:
        return ROOT / self.file


HUGGINGFACE = "https://huggingface.co/"
PUBLISHED = (
    Weights(
        "s3fd", "face_detection/detection/sfd/s3fd.pth", 89_843_225,
        "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
        ("https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",
         HUGGINGFACE + "camenduru/Wav2Lip/resolve/main/checkpoints/s3fd-619a316812.pth"),
        "face detector",
    ),
    Weights(
        "wav2lip", "checkpoints/wav2lip.pth", 435_807_851,
        "b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/wav2lip.pth",),
        "generator, closest lip-sync; not for commercial use",
    ),
    Weights(
        "wav2lip_gan", "checkpoints/wav2lip_gan.pth", 435_801_865,
        "ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/wav2lip_gan.pth",
         HUGGINGFACE + "camenduru/Wav2Lip/resolve/main/checkpoints/wav2lip_gan.pth"),
        "generator, sharper mouth; not for commercial use",
    ),
    Weights(
        "lipsync_expert", "checkpoints/lipsync_expert.pth", 197_357_631,
        "9b9936c721696446eeed353032cab242a8cf0eed8c46cde540366f6ae5493be5",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/lipsync_expert.pth",),
        "frozen judge for training",
    ),
    Weights(
        "visual_quality_disc", "checkpoints/visual_quality_disc.pth", 169_382_040,
        "b3f8f6f7e954af02f2ffe0f3ea11f3259af89bff6e70933001c7c6bc8c145d96",
        (HUGGINGFACE + "Nekochu/Wav2Lip/resolve/main/visual_quality_disc.pth",),
        "discriminator, a start for --gan",
    ),
    Weights(
        "wav2lip_sd_gan", "checkpoints/Wav2Lip-SD-GAN.pt", 145_829_145,
        "180cfd49d31d47f195d5bfc62830ffe2c40724b7bbbce6faadc73ac6ab1a3b8e",
        (WEB_PAGE + "file/d/15G3U08c8xsCkOqQxE38Z2XXDnPcOptNk",),
        "generator as the authors' page serves it since 2025 (TorchScript); not for commercial use",
    ),
)  # fmt: skip
BUNDLED_GENERATOR = ROOT / "checkpoints" / "wav2lip_small.safetensors"
BUNDLED_EXPERT = ROOT / "checkpoints" / "lipsync_expert_small.safetensors"
PUBLISHED_SCORER = ROOT / "checkpoints" / "syncnet_v2.model"  # of the field's LSE-D and LSE-C; to be put there by hand
GENERATORS = ("wav2lip_gan", "wav2lip", "wav2lip_sd_gan")  # the best first


def generator_there() -> Path:
    """The best generator that is there: a published one before the bundled one."""
    published = [weights.path for name in GENERATORS for weights in PUBLISHED if weights.name == name]
    return _there([*published, BUNDLED_GENERATOR], "--checkpoint_path")[0]


def experts() -> list[Path]:
    """Where weights of a lip-sync expert belong, the published ones first."""
    return [*(weights.path for weights in PUBLISHED if weights.name == "lipsync_expert"), BUNDLED_EXPERT]


def scorers_there() -> list[Path]:
    """All weights that lip-sync can be scored with."""
    return _there([PUBLISHED_SCORER, *experts()], "--syncnet_checkpoint_path")


def _there(paths: list[Path], flag: str) -> list[Path]:
    found = [path for path in paths if path.exists()]
    if not found:
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in paths)
        raise InputError(f"{flag}: not given, and none of {names} is there; `python weights.py list` says more")
    return found


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc=path.name, leave=False) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def fetch(weights: Weights) -> None:
    """Download to the file's place from the first mirror that has it; nothing unverified gets the final name."""
    if weights.path.exists():
        print(f"{weights.name}: {weights.file} is there already")
        return
    cli.writable_folder(weights.path.parent, weights.name)
    part = weights.path.with_name(weights.path.name + ".part")
    reasons = []
    for address in weights.mirrors:
        if address.startswith(WEB_PAGE):
            reasons.append("must be downloaded with a browser")
            continue
        try:
            _download(address, part, weights)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reasons.append(str(getattr(error, "reason", error)))
            continue
        if part.stat().st_size < weights.size:
            reasons.append("the connection broke off, run it again to go on")
            continue
        if sha256(part) == weights.sha256:
            part.replace(weights.path)
            print(f"{weights.name}: {weights.file}, verified")
            return
        part.unlink()
        reasons.append("another file is served there")
    raise InputError(
        f"{weights.name}: {'; '.join(dict.fromkeys(reasons))}; download {weights.mirrors[0]} elsewhere, then run "
        f"`python weights.py import FILE` or put it at {weights.file}"
    )


def _download(address: str, part: Path, weights: Weights) -> None:
    """Append to `part` what is missing of the file."""
    have = part.stat().st_size if part.exists() else 0
    if have >= weights.size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        resumed = answer.status == 206  # else the server sends the whole file
        with part.open("ab" if resumed else "wb") as file, tqdm(
            total=weights.size, initial=have if resumed else 0, unit="B", unit_scale=True, desc=weights.name
        ) as bar:  # fmt: skip
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))


def bring_in(source: Path) -> None:
    """Copy a file that turns out to be one of the published ones to its place."""
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    digest = sha256(source)
    known = {weights.sha256: weights for weights in PUBLISHED}
    if digest not in known:
        raise InputError(
            f"{source}: is none of the published files (SHA-256 {digest}); "
            "weights of another origin need no import, give their path to the scripts"
        )
    weights = known[digest]
    cli.writable_folder(weights.path.parent, weights.name)
    part = weights.path.with_name(weights.path.name + ".part")
    shutil.copyfile(source, part)
    part.replace(weights.path)
    print(f"{weights.name}: {weights.file}, verified")


def export(source: Path, target: Path) -> None:
    """The network's weights alone, in half precision, with the values it was trained with."""
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: give a name that ends in .safetensors")
    cli.writable_folder(target.parent, "OUT")
    content = checkpoint.read(source)
    values = checkpoint.hparams_of(content).to_dict()
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in content["state_dict"].items()
    }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise InputError(f"{source}: has values that half precision cannot hold; share the file itself")
    part = target.with_name(target.name + ".part")
    safetensors.torch.save_file(state, part, {"hparams": json.dumps(values)})
    part.replace(target)
    print(f"{target}: {checkpoint.identify(state)}, {target.stat().st_size / 1e6:.1f} MB")


def list_all() -> None:
    for weights in PUBLISHED:
        state = "there" if weights.path.exists() else "missing"
        print(f"{weights.name:20} {weights.size / 1e6:6.1f} MB  {state:8} {weights.file}\n{'':20} {weights.note}")
    for path in filter(Path.exists, (BUNDLED_GENERATOR, BUNDLED_EXPERT)):
        print(f"{'bundled':20} {path.stat().st_size / 1e6:6.1f} MB  there    {path.relative_to(ROOT).as_posix()}")


def verify() -> None:
    present = [weights for weights in PUBLISHED if weights.path.exists()]
    wrong = [weights.file for weights in present if sha256(weights.path) != weights.sha256]
    if wrong:
        raise InputError(f"not the published files, or damaged: {', '.join(wrong)}; delete and fetch them again")
    print(f"{len(present)} of {len(PUBLISHED)} files are there, all as published")


def main(args: argparse.Namespace) -> None:
    by_name = {weights.name: weights for weights in PUBLISHED}
    if args.command == "list":
        list_all()
    elif args.command == "verify":
        verify()
    elif args.command == "import":
        for source in args.files:
            bring_in(source)
    elif args.command == "export":
        export(args.source, args.target)
    else:
        unknown = [name for name in args.names if name not in by_name]
        if unknown:
            raise InputError(f"{unknown[0]}: unknown; choose from {', '.join(by_name)}")
        for name in args.names:
            fetch(by_name[name])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify")
    commands.add_parser("fetch").add_argument("names", nargs="+", metavar="NAME")
    commands.add_parser("import").add_argument("files", nargs="+", type=Path, metavar="FILE")
    export_flags = commands.add_parser("export")
    export_flags.add_argument("source", type=Path, metavar="CHECKPOINT")
    export_flags.add_argument("target", type=Path, metavar="OUT")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
