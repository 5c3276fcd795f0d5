"""The queue of the page: one job at a time, in order; nothing lost; a failure or a cancelled job stops no other."""

import errno
import os
import threading
import time

import pytest

from utils.errors import InputError
from web import jobs
from web.jobs import CANCELLED, CUT_OFF, DONE, ENDED, FAILED, RUNNING, WAITING, JobQueue

BEATING = """import time
while True:
    open({path!r}, "a").write(".")
    time.sleep(0.02)
"""


@pytest.fixture
def queue(tmp_path):
    return JobQueue(tmp_path / "jobs.json", ["cpu"])


def add(queue, tmp_path, work, name="job", owner="someone"):
    folder = tmp_path / name
    folder.mkdir()
    return queue.add(owner, "dub", name, folder, work)


def wait_for(job, *states, seconds=5):
    end = time.monotonic() + seconds
    while job.state not in (states or ENDED):
        assert time.monotonic() < end, f"still {job.state}"
        time.sleep(0.01)


def test_twenty_jobs_run_one_by_one_in_their_order(queue, tmp_path):
    order, at_once = [], []

    def work(control):
        at_once.append(sum(job.state == RUNNING for job in all_jobs))
        order.append(control.job.title)
        return {}

    all_jobs = []
    all_jobs += [add(queue, tmp_path, work, f"job {n:02}") for n in range(20)]
    for job in all_jobs:
        wait_for(job)
    assert order == sorted(order) and len(order) == 20
    assert max(at_once) == 1 and {job.state for job in all_jobs} == {DONE}


def test_a_failed_job_says_why_without_the_servers_paths_and_the_next_starts(queue, tmp_path):
    def fail(control):
        raise InputError(f"{control.folder / 'face.mp4'}: no face found")

    def crash(control):
        raise RuntimeError("boom")

    failed, crashed, good = (add(queue, tmp_path, work, name) for work, name in
                             ((fail, "a"), (crash, "b"), (lambda control: {"x": 1}, "c")))  # fmt: skip
    wait_for(good)
    assert (failed.state, failed.message) == (FAILED, "face.mp4: no face found")
    assert (crashed.state, crashed.message) == (FAILED, "RuntimeError: boom")
    assert good.result == {"x": 1}


def test_a_running_job_is_cancelled_at_its_next_item_and_a_waiting_one_at_once(queue, tmp_path):
    def endless(control):
        for _ in control.progress(iter(int, 1), desc="dubbing", total=100):
            time.sleep(0.01)
        return {}

    running, waiting = add(queue, tmp_path, endless, "a"), add(queue, tmp_path, endless, "b")
    wait_for(running, RUNNING)
    assert waiting.state == WAITING and queue.jobs_before(waiting) == 1
    queue.cancel(waiting.name)
    assert waiting.state == CANCELLED
    queue.cancel(running.name)
    wait_for(running, seconds=1)
    assert running.state == CANCELLED and queue.unfinished() == set()


def test_what_has_no_progress_is_cancelled_when_it_returns_and_says_that_it_will_be(queue, tmp_path):
    go_on = threading.Event()

    def check(control):
        go_on.wait(5)
        return {"lines": []}

    job = add(queue, tmp_path, check)
    wait_for(job, RUNNING)
    queue.cancel(job.name)
    assert job.to_stop and job.state == RUNNING
    go_on.set()
    wait_for(job)
    assert job.state == CANCELLED and job.began <= job.to_stop <= job.ended


def test_a_full_disk_stops_neither_the_queue_nor_its_jobs(queue, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(jobs, "write_json", full)
    first = add(queue, tmp_path, lambda control: full(control.folder / "dub.mp4", ""), "first")
    second = add(queue, tmp_path, lambda control: {}, "second")
    wait_for(second)
    assert (first.state, second.state) == (FAILED, DONE) and str(tmp_path) not in first.message
    assert "cannot be written" in capsys.readouterr().err


def test_progress_counts_items_and_estimates_the_time_left(queue, tmp_path):
    half, go_on = threading.Event(), threading.Event()

    def work(control):
        for number in control.progress(range(10), desc="dubbing", total=10):
            if number == 5:
                half.set()
                go_on.wait(5)
            time.sleep(0.01)
        return {}

    job = add(queue, tmp_path, work)
    assert half.wait(5)
    assert (job.stage, job.done, job.total) == ("dubbing", 5, 10)
    assert 0 < job.seconds_left() < 5
    go_on.set()
    wait_for(job)
    assert job.done == 10


def test_a_server_that_starts_again_lists_what_was_cut_off_as_failed_and_works(tmp_path):
    first = JobQueue(tmp_path / "jobs.json", [])  # no device: its jobs never run
    cut_off = add(first, tmp_path, lambda control: {})
    second = JobQueue(tmp_path / "jobs.json", ["cpu"])
    assert [(job.state, job.message) for job in second.of("someone")] == [(FAILED, CUT_OFF)]
    assert second.get(cut_off.name).title == cut_off.title
    again = add(second, tmp_path, lambda control: {}, "again")
    wait_for(again)
    assert again.state == DONE


def test_a_server_that_is_stopped_leaves_no_script_running_and_starts_no_other_job(queue, tmp_path):
    script, beats = tmp_path / "forever.py", tmp_path / "beats"
    script.write_text(BEATING.format(path=str(beats)))
    running = add(queue, tmp_path, lambda control: {"code": control.run_script(str(script))}, "a")
    waiting = add(queue, tmp_path, lambda control: {}, "b")
    while not beats.exists():
        time.sleep(0.01)
    queue.stop(10)
    size = beats.stat().st_size
    time.sleep(0.3)
    assert beats.stat().st_size == size
    again = JobQueue(tmp_path / "jobs.json", [])
    assert [again.get(job.name).message for job in (running, waiting)] == [CUT_OFF, CUT_OFF]


def test_a_damaged_list_of_jobs_does_not_keep_the_server_from_starting(tmp_path, capsys):
    (tmp_path / "jobs.json").write_text("[{")
    assert JobQueue(tmp_path / "jobs.json", []).of("someone") == []
    assert "damaged" in capsys.readouterr().err


def test_a_session_sees_its_own_jobs_alone(queue, tmp_path):
    mine = add(queue, tmp_path, lambda control: {}, "mine", "me")
    add(queue, tmp_path, lambda control: {}, "yours", "you")
    assert [job.name for job in queue.of("me")] == [mine.name]
