"""Pages for readers: both READMEs have the same parts, and what they say to type works; links; the notebook."""

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from docs import generate_cli
from hparams import hparams
from models.export import export
from models.published import BUNDLED_EXPERT, BUNDLED_GENERATOR
from utils import cli
from utils.process import LAST_SECONDS
from web.server import EXAMPLES
from web.site import AUTH, WebOptions

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
SCRIPTS = [path.stem for path in ROOT.glob("*.py") if path.stem not in ("audio", "hparams")]
COMMAND = re.compile(rf"^ *(?:> )?python ({'|'.join(SCRIPTS)})\.py (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
PARTS = {  # of a README -> a list that is the same in both languages
    "lines of code, less comments": lambda text, prose: re.sub(
        r" *#.*$", "", "\n".join(CODE.findall(text)), flags=re.M
    ),
    "levels of headings": lambda text, prose: re.findall(r"^(#+) ", prose, re.MULTILINE),
    "links": lambda text, prose: sorted(set(re.findall(r"\]\(([^)\s]+)\)", text)) - {"README.md", "README.zh-CN.md"}),
    "names in backticks": lambda text, prose: sorted(
        re.sub(r"\s+", " ", name) for name in re.findall(r"`([^`]+)`", prose)
    ),
}


def commands() -> list[tuple[str, str]]:
    """Script and arguments of every command in a code block, except those that a reader has to complete."""
    blocks = [block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    found = [command for block in blocks for command in COMMAND.findall(re.sub(r"\\\n\s*", "", block))]
    return [(script, text) for script, text in found if "…" not in text]


@pytest.mark.parametrize("part", PARTS)
def test_both_languages_of_the_readme_have_the_same(part):
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert PARTS[part](chinese, CODE.sub("", chinese)) == PARTS[part](english, CODE.sub("", english))
    assert "](README.zh-CN.md)" in english and "](README.md)" in chinese


def test_flags_and_values_in_the_pages_are_known():
    found = commands()
    assert {"inference", "preprocess", "wav2lip_train", "weights"} <= {script for script, _ in found}
    for script, text in found:
        args = importlib.import_module(script).parse_args(shlex.split(text, comments=True))
        hparams.override(getattr(args, "hparams", None) or "")


def test_the_page_of_flags_is_up_to_date():
    assert generate_cli.PAGE.read_text(encoding="utf-8") == generate_cli.cli_page(), "run `make docs`"


def test_the_page_in_the_container_listens_where_its_port_and_health_check_are():
    dockerfile, compose = ((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "compose.yaml"))
    commands = json.loads(re.findall(r"^CMD (.+)$", dockerfile, re.MULTILINE)[-1])
    composed = re.findall(r"^    command: (.+)$", compose, re.MULTILINE)[0]
    assert composed.split()[:-1] == commands and composed.endswith(f"${{{AUTH}:+--auth}}")
    python, script, *flags = commands
    options = cli.parser_for(None, WebOptions).parse_args(flags)
    assert (python, script) == ("python", "web.py")
    assert (options.host, options.train_root) == ("0.0.0.0", Path("/videos"))
    assert f"EXPOSE {options.port}" in dockerfile
    assert f"http://127.0.0.1:{options.port}/" in dockerfile
    assert f"- 127.0.0.1:{options.port}:{options.port}" in compose
    assert int(re.findall(r"stop_grace_period: (\d+)s", compose)[0]) > LAST_SECONDS + 15


def test_the_container_has_all_packages_in_versions_that_the_requirements_allow():
    lines = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned["opencv-python"] = pinned["opencv-python-headless"]
    for name in ("requirements.txt", "requirements-web.txt", "requirements-openvino.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r")):
                needed = Requirement(line.partition("#")[0])
                assert needed.specifier.contains(pinned[needed.name]), f"{line}: run `make lock`"


def test_the_container_has_all_folders_of_the_program_and_the_examples():
    passed = re.findall(r"^!([\w*./-]+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"docs", "benchmarks", "tests"}
    videos = {f"demo/{name}" for example in EXAMPLES for name in example.values() if name.endswith(".mp4")}
    assert packages | videos | {"demo", "*.py"} <= set(passed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_in_the_pages_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            lines = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^a-z0-9 _-]", "", line.lower()).replace(" ", "-") for line in lines}, link


NOTEBOOK = Path(__file__).resolve().parent.parent.parent / "notebooks" / "finetune.ipynb"
QUICK = "batch_size=1,single_frames=2,frames_first=1,eval_interval=2,eval_early=False,eval_windows=8,num_workers=0"


def shown(notebook) -> list[list[str]]:
    """The kinds of what each code cell shows besides printed text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[kind for output in cell.outputs for kind in output.get("data", {}) if kind != "text/plain"]
            for cell in cells]  # fmt: skip


def test_its_outputs_are_committed_without_errors_and_tell_nothing_of_the_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from its beginning"
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert "<video" in cells[-1].outputs[0].data["text/html"]
    assert len(text) < 600_000  # bytes, which a page of a repository shows without waiting
    assert re.findall(r"(?:/home|/root|/tmp|/work|/Users|C:\\)[/\\][\w./\\-]+", text) == []


@pytest.mark.slow
@pytest.mark.long
def test_it_runs_from_raw_videos_to_a_dubbed_one(tmp_path, generator, expert):
    import nbclient

    notebook, work = nbformat.read(NOTEBOOK, as_version=4), tmp_path / "the notebook's"
    committed = shown(notebook)
    parameters = {"STEPS": 2, "GENERATOR": str(generator), "EXPERT": str(expert), "HPARAMS": QUICK, "WORK": str(work)}
    given = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items()))
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(place + 1, given)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    del notebook.cells[place + 1]
    assert (work / "dubbed.mp4").stat().st_size > 10_000
    assert (work / "checkpoints" / "checkpoint_step000000002.pth").exists()
    assert shown(notebook) == committed


TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

SMALL = {  # what is added to a script's commands, so that they take seconds
    "inference": ["--preview", "0.4", "--no_cache"],
    "wav2lip_train": [
        "--max_steps", "2", "--num_workers", "0", "--hparams", "batch_size=2,eval_windows=2,eval_interval=2",
    ],
    "finetune": ["--minutes", "0.01", "--seconds", "0.4"],
}  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def readme_commands() -> list[list[str]]:
    """The scripts that the README runs, with their arguments."""
    lines = [line for block in blocks("") for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    lines += re.findall(r"`python (weights\.py [^`]+)`", TEXT)
    found = [line.partition("#")[0].strip().removeprefix("python ") for line in lines]
    return [shlex.split(line) for line in found if re.match(r"\w+\.py ", line) and "--demo" not in line]


@pytest.fixture
def newcomer(talking, speech, generator, expert, tmp_path, monkeypatch) -> Path:
    """The folder to work in: talk.mp4, speech.wav, my_videos, and narrow networks in place of the bundled weights."""
    for network, path in ((generator, BUNDLED_GENERATOR), (expert, BUNDLED_EXPERT)):
        export(network, tmp_path / path.relative_to(ROOT))
    (tmp_path / "my_videos").mkdir()
    for name in ("talk.mp4", "my_videos/1.mp4", "my_videos/2.mp4"):
        shutil.copyfile(talking, tmp_path / name)
    shutil.copyfile(speech, tmp_path / "speech.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("no_workers")
def test_the_commands_work_as_they_stand(newcomer, script):
    found = readme_commands()
    assert {name for name, *_ in found} >= {"inference.py", "preprocess.py", "wav2lip_train.py", "weights.py"}
    for name, *arguments in found:
        stem = name.removesuffix(".py")
        if stem == "weights" and arguments[0] == "fetch":
            continue  # no network; tests/models/test_weights.py
        result = script(stem, *arguments, *SMALL.get(stem, []))
        assert result.code in (0, 1), f"{name} {shlex.join(arguments)}: {result.error}"
    for written in ("out.mp4", "out.mp4.json", "out.mp4.png"):
        assert (newcomer / written).exists(), written


@pytest.mark.slow
@pytest.mark.long
def test_the_python_block_works_as_it_stands(newcomer):
    (block,) = blocks("python")
    block = block.replace('paste="soft"', 'paste="soft", preview=0.4').replace("preview=5.0", "preview=0.2")
    exec(compile(block, "README.md", "exec"), {})
    assert (newcomer / "out.mp4").exists()
    assert (newcomer / "preview.mp4").exists()
