"""What the page offers to choose from, while trainings and visitors add to it."""

import os

import pytest

from utils.errors import InputError
from web.jobs import FAILED, Job
from web.options import WebOptions
from web.site import EVERYBODY, Site


@pytest.fixture
def site(tmp_path):
    (tmp_path / "videos" / "anna").mkdir(parents=True)
    (tmp_path / "videos" / "anna" / "IMG_1.MOV").touch()
    return Site(WebOptions(folder=tmp_path / "web", train_root=tmp_path / "videos", device="cpu"), tmp_path / "uploads")


def write(site, *names):
    paths = [site.files.run_folder(site.video_folders()["anna"]) / name for name in names]
    for age, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1e9 + age, 1e9 + age))
    return paths


def test_what_a_training_has_made_can_be_chosen_for_a_dub_without_a_new_start(site):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import dub_tab

    form = dub_tab.form(site)
    with pytest.raises(InputError, match="anna: generator: choose from"):
        form.options({"checkpoint_path": "anna: generator"})
    best, person = write(site, "generator/best.pth", "refiner/person.safetensors")
    options = form.options({"checkpoint_path": "anna: generator", "refine": "anna: refiner"})
    assert (options.checkpoint_path, options.refine) == (best, str(person))
    assert "anna: generator" in form.offered()[0]["choices"]


def test_folders_of_videos_are_found_when_they_come(site):
    assert list(site.video_folders()) == ["anna"]
    (site.options.train_root / "bob").mkdir()
    assert list(site.video_folders()) == ["anna"]  # no video is in it yet
    (site.options.train_root / "bob" / "a.mp4").touch()
    assert list(site.video_folders()) == ["anna", "bob"]


def test_the_pages_of_a_run_are_those_of_its_newest_stages(site):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import tabs

    write(site, "preprocessed/report.html", "generator/summary.html", "generator_2/summary.html")
    run = site.files.run_folder(site.video_folders()["anna"])
    job = Job("0" * 32, EVERYBODY, "train", "Training on anna", "", result={"run": run.name})
    pages = [path.relative_to(run).as_posix() for path in tabs.run_pages(site, job).values()]
    assert pages == ["preprocessed/report.html", "generator_2/summary.html"]


def test_help_texts_call_settings_as_the_form_does(site):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import dub_tab

    notes = [field.info for field in dub_tab.form(site).components(common=False).values()]
    assert any("after “resize factor” and “rotate”" in note for note in notes)
    assert not [note for note in notes if "--" in note]


def test_a_dub_that_failed_shows_the_faces_that_its_line_speaks_of(tmp_path):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import dub_tab

    job = Job("0" * 32, EVERYBODY, "dub", "Dub of talk.mp4", str(tmp_path), FAILED, "see dub.mp4.faces.png")
    assert dub_tab.show(job) == ""
    (tmp_path / "dub.mp4.faces.png").touch()
    assert f'src="/jobs/{job.name}/dub.mp4.faces.png"' in dub_tab.show(job)


def test_the_weights_that_come_with_the_project_can_be_chosen_with_their_licence(site):
    assert any("wav2lip_small" in label and "CC BY 4.0" in label for label in site.generators())


def test_cleaning_goes_on_after_a_folder_that_cannot_be_cleaned(site, monkeypatch, capsys):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import page

    class EnoughError(Exception):
        pass

    rounds = iter([OSError("busy"), EnoughError()])

    def clean():
        raise next(rounds)

    monkeypatch.setattr(site, "clean", clean)
    monkeypatch.setattr(page.time, "sleep", lambda seconds: None)
    with pytest.raises(EnoughError):
        page._clean_for_ever(site)
    assert "cannot be cleaned (busy)" in capsys.readouterr().err
