"""Files that the project writes are whole or not there."""

import errno
import json
import os
import stat

import pytest
import safetensors.torch
import torch

from utils.errors import InputError
from utils.files import atomic_write, only_user, write_json, write_text


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "Ü 1.json"
    write_json(path, {"a": "ä"})
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ä"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_of_the_file_that_was_to_be_written(tmp_path):
    for unnamed in (OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full", ".a.part.png")):
        with pytest.raises(OSError, match="full") as raised, atomic_write(tmp_path / "a.png"):
            raise unnamed
        assert raised.value.filename == str(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_files_have_the_mode_that_the_umask_gives_whatever_writes_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.json", "{}")
        with atomic_write(tmp_path / "a.safetensors") as temporary:
            safetensors.torch.save_file({"a": torch.zeros(3)}, temporary)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["a.json"] == modes["a.safetensors"] == 0o640


def test_a_target_that_is_open_elsewhere_leaves_the_finished_file_under_a_second_name(tmp_path, monkeypatch):
    path = tmp_path / "video.txt"
    write_text(path, "old")
    real = os.replace

    def refuses(source, target):  # as Windows does
        if target == path:
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", refuses)
    with pytest.raises(InputError, match=r"video\.txt: is open in another program; the new file is .*video\."):
        write_text(path, "new")
    assert path.read_text() == "old"
    (second,) = set(tmp_path.iterdir()) - {path}
    assert second.read_text() == "new"


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path):
    for _ in range(2):
        with (
            only_user(tmp_path, "--root"),
            pytest.raises(InputError, match=r"--root .*: another process works there"),
            only_user(tmp_path, "--root"),
        ):
            pass
