"""Files that the project writes are whole or not there."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from utils import files
from utils.errors import InputError
from utils.files import atomic_write, atomic_writes, exclusive_lock, read_json, read_table, write_json, write_text

ROOT = Path(__file__).parent.parent.parent


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


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_files_have_the_mode_that_the_umask_gives_whatever_writes_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.json", "{}")
        with atomic_write(tmp_path / "a.safetensors") as temporary:
            temporary.chmod(0o600)  # as safetensors does
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


def test_a_folder_is_claimed_by_one_at_a_time_and_the_second_is_told_by_whom(tmp_path):
    for _ in range(2):
        with (
            exclusive_lock(tmp_path, "--root"),
            pytest.raises(InputError, match=rf"--root .*: in use by .*process {os.getpid()} on "),
            exclusive_lock(tmp_path, "--root"),
        ):
            pass


def test_names_may_be_as_long_as_the_system_takes_them_and_of_any_bytes(tmp_path):
    bytes_alone = ["\udcff\udc80.json", "a\n\x85\u2028 .json"] if sys.platform == "linux" else []
    names = ["a" * 250 + ".json", *bytes_alone]
    for name in names:
        write_json(tmp_path / name, {"file": name})
        assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == {"file": name}
    assert len(list(tmp_path.iterdir())) == len(names)


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "a.mp4.json"]
    for path in paths:
        path.write_text("old")
    with pytest.raises(OSError, match="full") as raised, atomic_writes(*paths) as temporaries:
        temporaries[0].write_text("new")
        raise OSError(errno.ENOSPC, "full", str(temporaries[1]))
    assert raised.value.filename == str(paths[1])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.mp4": "old", "a.mp4.json": "old"}


@pytest.mark.skipif(os.name == "nt", reason="kill")
def test_what_a_killed_process_left_is_deleted_at_the_next_start_and_what_a_living_one_writes_is_not(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from utils.files import atomic_write, temporary_folder\n"
        "with temporary_folder(Path(sys.argv[1])) as folder, atomic_write(folder.parent / 'a.mp4'):\n"
        "    (folder / 'file').touch(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        files.delete_leftovers.cache_clear()
        files.writable_folder(tmp_path, "--outfile")
        assert len(list(tmp_path.iterdir())) == 2
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    files.delete_leftovers.cache_clear()
    files.writable_folder(tmp_path, "--outfile")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\x80"], ids=lambda text: text[:9])
def test_damaged_json_is_one_line_that_names_the_file_and_what_to_do(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"report\.json: is damaged .*; make it again"):
        read_json(path, "make it again")


PLAIN = 'face,audio,pads\n"a, b.mp4",s.wav,0 20 0 0\nc.mp4,t.wav,\n'
ROWS = [{"face": "a, b.mp4", "audio": "s.wav", "pads": "0 20 0 0"}, {"face": "c.mp4", "audio": "t.wav", "pads": ""}]


def saved(text: str, separator: str = ",", newline: str = "\n") -> str:
    """PLAIN, or what is like it, with another separator outside of the quotes."""
    return text.replace(", b", "\0").replace(",", separator).replace("\0", ", b").replace("\n", newline)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (saved(PLAIN, "\t", "\r\n"), "utf-16"),
        ("sep=;\r\n" + saved(PLAIN, ";", "\r\n"), "utf-8-sig"),
        (saved(PLAIN, ";").replace("face;audio", ' "Face" ; Audio '), "utf-8"),
        (saved(PLAIN, ";").replace("pads", "pads;;").replace("0 0\n", "0 0;;\n") + ";;;;\n\n", "utf-8"),
    ],
    ids=["comma", "tab, UTF-16", "semicolon, mark and sep line", "names", "empty cells"],
)
def test_one_table_is_read_however_it_was_saved(tmp_path, text, encoding):
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert read_table(tmp_path / "list.csv", "--jobs", ("face", "audio")) == ROWS
    (tmp_path / "list.json").write_text(json.dumps(ROWS), encoding=encoding)
    assert read_table(tmp_path / "list.json", "--jobs", ("face", "audio")) == ROWS
    (tmp_path / "list.csv").write_text("video\na; b.mp4\n")
    assert read_table(tmp_path / "list.csv", "--list", ("video",)) == [{"video": "a; b.mp4"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"video;sound\nx;y\n", "has the columns video, sound"),
        (b"face;audio\nx;y;z\n", "line 2 has more values"),
        (b"face;audio\nZo\xeb;y\n", "in UTF-8"),
        (b"face;audio\n", "give rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_by_its_columns(tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"--jobs .*list\.csv: .*{said}"):
        read_table(tmp_path / "list.csv", "--jobs", ("face", "audio"))
