"""What .dockerignore keeps out of the image, and how the page in the container is started."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from utils import cli
from web.options import WebOptions

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
KEPT_OUT = [
    ".git/config", ".venv/bin/python", "my_videos/anna.mp4", "anna.mp4", "speech.wav", "demo/out/man_dubbed.mp4",
    "checkpoints/wav2lip_gan.pth", "checkpoints/mine/person.safetensors", "face_detection/detection/sfd/s3fd.pth",
    "preprocessed/anna/1/0.jpg", "results/web/jobs.json", ".env", "web/__pycache__/app.cpython-311.pyc",
    "tests/conftest.py", "docs/cli.md",
]  # fmt: skip
NEEDED = ["web.py", "web/page.py", "utils/cli.py", "demo/man.mp4", "requirements.txt", "LICENSE"]


def test_footage_weights_and_environments_stay_out_of_the_image(tmp_path):
    """Git reads .dockerignore as Docker does, once its patterns begin at the top."""
    if subprocess.run(["git", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("needs git")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rooted = [re.sub(r"^(!?)(?!\*\*/|#|!|$)", r"\1/", line) for line in lines]
    (tmp_path / ".gitignore").write_text("\n".join(rooted))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = ["git", "-C", tmp_path, "check-ignore", "--no-index", "--stdin"]
    names = "\n".join([*KEPT_OUT, *NEEDED])
    ignored = subprocess.run(command, input=names, capture_output=True, text=True, check=False).stdout.splitlines()
    assert ignored == KEPT_OUT


def test_the_page_in_the_container_listens_where_its_port_and_health_check_are():
    command = json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[-1])
    assert command[:2] == ["python", "web.py"]
    options = cli.parser_for(None, WebOptions).parse_args(command[2:])
    assert options.host == "0.0.0.0"
    assert f"EXPOSE {options.port}" in DOCKERFILE
    assert f"http://127.0.0.1:{options.port}/" in DOCKERFILE
    assert f"- 127.0.0.1:{options.port}:{options.port}" in (ROOT / "compose.yaml").read_text(encoding="utf-8")
