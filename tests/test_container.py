"""What goes into the image, by .dockerignore, and how its page is started."""

import json
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from utils import cli
from web.options import WebOptions

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NOT_IN_THE_IMAGE = {".ci", ".github", "benchmarks", "docs", "notebooks", "tests"}
KEPT_OUT = [
    ".git/config", ".venv/bin/python", "env/lib/site.py", "my_videos/anna.mp4", "anna.mp4", "speech.wav",
    "data/anna.mp4", "demo/other.mp4", "demo/out/man_dubbed.mp4", "checkpoints/wav2lip_gan.pth",
    "checkpoints/mine/best.pth", "checkpoints/Wav2Lip-SD-GAN.pt", "checkpoints/mine/person.safetensors",
    "face_detection/detection/sfd/s3fd.pth", "preprocessed/anna/1/0.jpg", "results/web/jobs.json", ".env",
    "filelists/train.txt", "web/__pycache__/app.cpython-311.pyc",
]  # fmt: skip


def expression(pattern: str) -> re.Pattern:
    """Of a pattern as Docker reads it: * and ? within a name, **/ for any folders, from the top."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces))


def patterns() -> list[tuple[bool, re.Pattern]]:
    """Whether files are let through, and which."""
    lines = [line.strip() for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()]
    given = [line for line in lines if line and not line.startswith("#")]
    return [(line.startswith("!"), expression(line.removeprefix("!"))) for line in given]


def in_the_image(file: str) -> bool:
    """The last pattern that fits the file or a folder it is in decides."""
    names = [file, *(str(folder) for folder in PurePosixPath(file).parents)]
    fitting = [passes for passes, pattern in patterns() if any(pattern.fullmatch(name) for name in names)]
    return fitting[-1] if fitting else True


def tracked() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    return [name for name in listed.stdout.split("\0") if name]


def test_the_image_has_every_file_of_the_project_that_the_program_needs():
    needed = [
        name for name in tracked()
        if name.partition("/")[0] not in NOT_IN_THE_IMAGE
        and ("/" in name or name.endswith(".py") or name in ("requirements.txt", "requirements-web.txt", "LICENSE"))
        and (not name.endswith(".md") or name == "checkpoints/README.md")  # which the page shows
    ]  # fmt: skip
    assert "checkpoints/wav2lip_small.safetensors" in needed
    assert [name for name in needed if not in_the_image(name)] == []


def test_what_is_only_for_developers_stays_out_of_the_image():
    assert [name for name in tracked() if name.partition("/")[0] in NOT_IN_THE_IMAGE and in_the_image(name)] == []


@pytest.mark.parametrize("name", KEPT_OUT)
def test_footage_weights_and_environments_stay_out_of_the_image(name):
    assert not in_the_image(name)


def test_the_page_in_the_container_listens_where_its_port_and_health_check_are():
    command = json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[-1])
    assert command[:2] == ["python", "web.py"]
    options = cli.parser_for(None, WebOptions).parse_args(command[2:])
    assert options.host == "0.0.0.0"
    assert f"EXPOSE {options.port}" in DOCKERFILE
    assert f"http://127.0.0.1:{options.port}/health" in DOCKERFILE
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert f"- 127.0.0.1:{options.port}:{options.port}" in compose


def test_the_container_does_not_run_as_root():
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)
