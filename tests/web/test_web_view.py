"""What a job looks like in the page."""

import pytest

from web.jobs import FAILED, RUNNING, WAITING, Job

panel = pytest.importorskip("web.panel", reason="web.py needs requirements-web.txt", exc_type=ImportError)


@pytest.fixture
def job(tmp_path):
    return Job("0" * 32, "owner", "dub", "Dub of <b>talk</b>.mp4", str(tmp_path))


def test_html_in_names_messages_and_logs_stays_text(job, tmp_path):
    (tmp_path / "log.txt").write_text("<script>1</script>")
    job.state, job.message = FAILED, "<i>no face</i>"
    for shown in (panel.state_html(job, 0), panel.log_html(job)):
        assert not {"<b>", "<i>", "<script>"} & {part for part in ("<b>", "<i>", "<script>") if part in shown}
    assert "&lt;i&gt;no face" in panel.state_html(job, 0)


def test_a_waiting_job_says_how_many_come_before_it(job):
    job.state = WAITING
    assert "waits; 1 job before it" in panel.state_html(job, 1)
    assert "waits; 3 jobs before it" in panel.state_html(job, 3)


def test_a_running_job_says_stage_rate_and_time_left(job):
    job.state, job.stage, job.done, job.total, job.rate = RUNNING, "dubbing", 50, 250, 2.0
    shown = panel.state_html(job, 0)
    assert "dubbing: 50 of 250, 2.0 a second, 1 min 40 s left" in shown
    assert '<progress value="50" max="250"' in shown


def test_addresses_are_quoted(job):
    assert panel.address(job, "a b.mp4") == f"/jobs/{'0' * 32}/a%20b.mp4"
