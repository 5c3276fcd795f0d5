"""The published weight files and the bundled ones: what they are, where they belong, which of them are there.

Files are told by their SHA-256. The published weights were trained on LRS2 and may not be used commercially.
Small weights trained with this project come with it (checkpoints/README.md). Nothing here needs PyTorch.
"""

from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError

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
TRAINED_HERE = "MIT; data: GRID (CC BY 4.0) and others, see checkpoints/README.md"
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
        "wav2lip_small", "checkpoints/wav2lip_small.safetensors", 18_230_566,
        "2dc055db44d9d2b3386f4ec853a50d6bf80f0ba4e8610c6c26680b1388991bb8", (),
        "generator of half the width, bundled", TRAINED_HERE,
    ),
    PublishedFile(
        "lipsync_expert_small", "checkpoints/lipsync_expert_small.safetensors", 8_276_808,
        "0be3edd6f3905889e0e89ec2a664afee78191d81e869719baa1da53a6260c399", (),
        "lip-sync expert of half the width, bundled", TRAINED_HERE,
    ),
    PublishedFile(
        "occlusion_small", "checkpoints/occlusion_small.safetensors", 457_440,
        "6e53d122543767fbd456e39aff3038222bed88192e2944bc1accdb312cd3952b", (),
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
