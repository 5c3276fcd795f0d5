"""No visitor of the page reaches a file that is not their own, whatever path or name they send."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from utils.errors import InputError
from web.site import NotThere, SessionFiles, new_key


@pytest.fixture
def files(tmp_path):
    return SessionFiles(tmp_path / "web", tmp_path / "web" / "uploads")


def uploaded(files, name="talk.mp4", content=b"video"):
    path = files.uploads / "digest" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_upload_is_kept_under_a_name_of_the_server(files):
    folder = files.new_job(new_key())
    taken = files.take(uploaded(files, "<b>ünï.MP4"), folder, "face")
    assert taken == folder / "face.mp4" and taken.read_bytes() == b"video"


def test_paths_outside_of_the_uploads_are_refused(files, tmp_path):
    folder, secret = files.new_job(new_key()), tmp_path / "secret.txt"
    secret.write_text("secret")
    other = files.take(uploaded(files), files.new_job(new_key()), "face")  # another session's
    link = files.uploads / "link.mp4"
    link.symlink_to(secret)
    within = files.uploads / "digest" / ".." / ".." / ".." / "secret.txt"
    for path in (secret, other, link, within, "secret.txt", files.uploads, "/etc/passwd"):
        with pytest.raises(InputError, match="no uploaded file"):
            files.take(path, folder, "face")
    assert not any(folder.iterdir())


def test_a_full_disk_is_one_line_without_the_servers_paths_and_leaves_no_half_file(files, monkeypatch):
    folder = files.new_job(new_key())

    def full(source, target):
        target.write_bytes(b"vid")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match=r"^the server cannot keep the file: [^/]*$"):
        files.take(uploaded(files), folder, "face")
    assert not any(folder.iterdir())


def test_a_suffix_cannot_carry_anything_but_letters(files):
    folder = files.new_job(new_key())
    assert files.take(uploaded(files, "talk.mp4 --x"), folder, "face").name == "face"


@pytest.mark.parametrize("key", ["", "..", "../../x", "a" * 100, "short", "x" * 21 + "/"])
def test_what_is_no_key_gets_no_folder(files, key):
    with pytest.raises(InputError, match="load it again"):
        files.new_job(key)


def test_results_are_found_by_job_and_name_alone(files, tmp_path):
    folder = files.new_job(new_key())
    (folder / "dub.mp4").write_bytes(b"dub")
    (folder / "link.mp4").symlink_to(files.take(uploaded(files), folder, "face"))
    assert files.result(folder.name, "dub.mp4").read_bytes() == b"dub"
    wrong = [
        ("..", "dub.mp4"), ("*", "dub.mp4"), ("?" * 32, "dub.mp4"), (folder.name, ".."), (folder.name, "link.mp4"),
        (folder.name, ""), (folder.name, "../" + folder.name + "/dub.mp4"), ("0" * 32, "dub.mp4"), (folder.name, "."),
    ]  # fmt: skip
    for job, name in wrong:
        with pytest.raises(NotThere):
            files.result(job, name)


def test_old_files_are_deleted_but_those_of_jobs_that_have_not_ended(files):
    key = new_key()
    old, used, fresh = (files.new_job(key) for _ in range(3))
    upload, part = uploaded(files).parent, files.uploads / "tmp1234"
    part.touch()
    for path in (old, used, upload, part):
        os.utime(path, (time.time() - 7200,) * 2)
    files.delete_old(1, {used.name})
    assert [path.exists() for path in (old, used, fresh, upload, part)] == [False, True, True, False, False]


def test_a_job_that_comes_while_its_session_is_cleaned_away_does_not_disturb(files, monkeypatch):
    old = files.new_job(new_key())
    os.utime(old, (time.time() - 7200,) * 2)
    remove = Path.rmdir
    monkeypatch.setattr(Path, "rmdir", lambda folder: ((folder / "new").mkdir(), remove(folder)))
    files.delete_old(1, set())
    assert (old.parent / "new").is_dir()
