"""Folders and jobs of the page's server, and what its form offers."""

import errno
import os
import threading
import time

import pytest

from utils.errors import InputError
from web.site import Site, WebOptions, log_lines

BEATING = """import time
while True:
    open("beats", "a").write(".")
    time.sleep(0.02)
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "videos" / "anna").mkdir(parents=True)
    return Site(WebOptions(folder=tmp_path / "web", train_root=tmp_path / "videos", device="cpu"))


def test_jobs_run_one_by_one_and_their_errors_hide_the_servers_paths(site):
    running, most = [], []

    def work():
        with site.job(site.session("anna")):
            running.append(1)
            most.append(len(running))
            time.sleep(0.01)
            running.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5 and not site.runs_in(site.folder)
    with pytest.raises(InputError, match="load it again"):
        site.session("")  # a page without a key
    with pytest.raises(InputError, match=r"^face\.mp4: no face$"), site.job(site.session("anna")) as job:
        raise InputError(f"{job.folder / 'face.mp4'}: no face")
    full = os.strerror(errno.ENOSPC)
    with pytest.raises(InputError, match=f"^the server cannot keep the files: {full}$"), site.job(site.runs):
        raise OSError(errno.ENOSPC, full, str(site.folder))


@pytest.mark.parametrize("stop", ["cancel", "stop"])
def test_a_cancelled_job_or_a_stopped_server_leaves_no_script_running(site, tmp_path, stop):
    (tmp_path / "forever.py").write_text(BEATING)
    errors = []

    def work():
        try:
            with site.job(site.session("anna"), "job") as job:
                job.run_script(str(tmp_path / "forever.py"))
        except InputError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    beats = site.session("anna") / "job" / "beats"
    while not beats.exists():
        time.sleep(0.01)
    site.cancel(site.session("berta"))  # another visitor, of whom nothing runs
    assert site.runs_in(beats.parent)
    site.stop() if stop == "stop" else site.cancel(site.session("anna"))
    thread.join(10)
    size = beats.stat().st_size
    time.sleep(0.2)
    assert errors == ["cancelled"] and beats.stat().st_size == size
    if stop == "stop":
        with pytest.raises(InputError, match="about to stop"), site.job(site.runs):
            pass


def test_the_error_line_of_a_script_is_the_jobs(site, tmp_path):
    (tmp_path / "fails.py").write_text("import sys; print('error: ' + sys.argv[1] + ': no such file'); sys.exit(2)")
    with pytest.raises(InputError, match=r"^no\.mp4: no such file$"), site.job(site.session("anna"), "job") as job:
        job.run_script(str(tmp_path / "fails.py"), "no.mp4")
    assert any("no.mp4" in line for line in log_lines(site.session("anna") / "job"))


def test_old_files_are_deleted_but_those_of_running_jobs(site):
    old, fresh, upload = site.session("anna") / "old", site.session("anna") / "fresh", site.uploads / "digest"
    with site.job(site.session("anna"), "running") as job:
        for path in (old, fresh, upload):
            path.mkdir()
        for path in (old, upload, job.folder):
            os.utime(path, (time.time() - 3600 * 25,) * 2)
        site.delete_old()
        assert [path.exists() for path in (old, fresh, upload, job.folder)] == [False, True, False, True]


def test_what_a_training_has_made_can_be_chosen_for_a_dub_without_a_new_start(site):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import dub_tab, tabs

    with pytest.raises(InputError, match="anna: generator: choose from"):
        dub_tab.dub_options(site, {"checkpoint_path": "anna: generator"})
    run = site.run_folder(site.video_folders()["anna"])
    for age, name in enumerate(("generator/best.pth", "generator/summary.html", "generator_2/summary.html")):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
        os.utime(run / name, (1e9 + age, 1e9 + age))
    options = dub_tab.dub_options(site, {"checkpoint_path": "anna: generator"})
    assert options.checkpoint_path == run / "generator" / "best.pth"
    assert "generator_2/summary.html" in tabs.run_html(site, run) and "generator/summary" not in tabs.run_html(
        site, run
    )
    assert any("wav2lip_small" in label and "CC BY 4.0" in label for label in dub_tab.generators(site))


def test_help_texts_call_settings_as_the_form_does(site):
    pytest.importorskip("gradio", reason="web.py needs requirements-web.txt")
    from web import dub_tab

    notes = [dub_tab.setting_field(site, setting).info for setting in dub_tab.SETTINGS.values()]
    assert any("after “resize factor” and “rotate”" in note for note in notes)
    assert not [note for note in notes if "--" in note]
