"""Lists that only grow, and what is said when they do not fit."""

import os

import pytest

from data import filelists
from data.filelists import listed_clips, update_lists
from utils.errors import InputError

CLIPS = [f"talk/clip {n}" for n in range(40)]


def lines(folder, name):
    return (folder / name).read_text(encoding="utf-8").splitlines()


def test_every_clip_is_in_one_list_and_stays_there_when_clips_are_added(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS[:20])
    first = {name: lines(tmp_path, name) for name in ("train.txt", "eval.txt")}
    assert sorted(first["train.txt"] + first["eval.txt"]) == sorted(CLIPS[:20])
    assert first["eval.txt"]
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    for name, before in first.items():
        assert lines(tmp_path, name)[: len(before)] == before
    assert sorted(lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")) == sorted(CLIPS)


def test_the_split_does_not_depend_on_how_many_clips_come_at_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    update_lists(tmp_path / "a", tmp_path / "root", CLIPS)
    for end in (10, 25, 40):
        update_lists(tmp_path / "b", tmp_path / "root", CLIPS[:end])
    shared = set(lines(tmp_path / "a", "eval.txt")) ^ set(lines(tmp_path / "b", "eval.txt"))
    assert len(shared) <= 1  # the one kept aside while there were few


def test_a_clip_left_out_leaves_its_list_and_comes_back(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    said = update_lists(tmp_path, tmp_path / "root", CLIPS[2:], left_out=CLIPS[:2])
    assert "2 taken out" in said[-1]
    listed = lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")
    assert sorted(listed) == sorted(CLIPS[2:])
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    assert sorted(lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")) == sorted(CLIPS)


def test_lists_written_by_hand_are_only_commented(tmp_path):
    (tmp_path / "train.txt").write_text("talk/clip 0\ntalk/clip 1\n", encoding="utf-8")
    (said,) = update_lists(tmp_path, tmp_path / "root", CLIPS[1:3], left_out=CLIPS[:1])
    assert "not in them: talk/clip 2; in them, but better left out: talk/clip 0" in said
    assert lines(tmp_path, "train.txt") == CLIPS[:2]


def test_a_list_that_a_windows_editor_saved_is_read(tmp_path):
    (tmp_path / "root" / CLIPS[0]).mkdir(parents=True)
    (tmp_path / "train.txt").write_text(f"{CLIPS[0]}\n", encoding="utf-8-sig")
    assert listed_clips(tmp_path, "train", tmp_path / "root") == [tmp_path / "root" / CLIPS[0]]


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"clips": []}', b'{"data_root": "a", "clips": 3}'])
def test_a_damaged_memory_of_the_lists_is_said_in_one_line(tmp_path, content):
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    (tmp_path / "known_clips.json").write_bytes(content)
    with pytest.raises(InputError, match=r"known_clips\.json: is damaged"):
        update_lists(tmp_path, tmp_path / "root", CLIPS)


def test_a_list_in_another_encoding_is_said_in_one_line(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "train.txt").write_bytes("talk/é\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"train\.txt: is no text in UTF-8"):
        listed_clips(tmp_path, "train", tmp_path / "root")


def test_five_clips_leave_one_for_evaluation(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS[:5])
    assert (len(lines(tmp_path, "train.txt")), len(lines(tmp_path, "eval.txt"))) == (4, 1)


def test_a_line_moved_or_removed_by_hand_stays_so(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS[:10])
    train = lines(tmp_path, "train.txt")
    moved, removed = train[0], train[1]
    (tmp_path / "train.txt").write_text("\n".join(train[2:]), encoding="utf-8")
    (tmp_path / "eval.txt").write_text("\n".join([*lines(tmp_path, "eval.txt"), moved]), encoding="utf-8")
    update_lists(tmp_path, tmp_path / "root", CLIPS[:12])
    assert moved in lines(tmp_path, "eval.txt")
    assert moved not in lines(tmp_path, "train.txt")
    assert removed not in lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")
    assert CLIPS[11] in lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")


def test_lists_written_by_hand_are_left_alone(tmp_path):
    (tmp_path / "train.txt").write_text("mine/a\n", encoding="utf-8")
    (said,) = update_lists(tmp_path, tmp_path / "root", CLIPS)
    assert "written by hand" in said
    assert lines(tmp_path, "train.txt") == ["mine/a"]


def test_lists_of_another_root_are_put_aside_not_lost(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS[:5])
    old = lines(tmp_path, "train.txt")
    said = update_lists(tmp_path, tmp_path / "other", CLIPS[5:10])
    assert "put aside" in said[0]
    assert lines(tmp_path, "train.1.txt") == old
    assert not set(old) & set(lines(tmp_path, "train.txt"))


def test_one_clip_is_trained_and_evaluated_on_and_that_is_said(tmp_path):
    said = update_lists(tmp_path, tmp_path / "root", CLIPS[:1])
    assert lines(tmp_path, "train.txt") == lines(tmp_path, "eval.txt") == CLIPS[:1]
    assert "only one clip" in said[0]


def listed(folder):
    return {split: lines(folder, f"{split}.txt") for split in ("train", "eval")}


def test_a_lone_clip_is_only_trained_on_once_another_is_there(tmp_path):
    for clips in (CLIPS[:1], CLIPS[:2], CLIPS):
        update_lists(tmp_path, tmp_path / "root", clips)
        lists = listed(tmp_path)
        assert CLIPS[0] in lists["train"] and lists["eval"]
        assert not set(lists["train"]) & set(lists["eval"]) or len(clips) == 1
    for split in ("train", "eval"):  # as they were left by versions that kept it in both
        (tmp_path / f"{split}.txt").write_text("\n".join(CLIPS[: 2 if split == "train" else 1]), encoding="utf-8")
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    assert sorted(lines(tmp_path, "train.txt") + lines(tmp_path, "eval.txt")) == CLIPS[:2]


def test_a_clip_that_was_trained_on_and_comes_back_is_trained_on_again(tmp_path):
    evaluated = min(CLIPS, key=filelists._position)  # where it is not the only one
    update_lists(tmp_path, tmp_path / "root", [evaluated])
    update_lists(tmp_path, tmp_path / "root", CLIPS[:20], [evaluated])
    update_lists(tmp_path, tmp_path / "root", [*CLIPS[:20], evaluated])
    assert evaluated in listed(tmp_path)["train"]
    assert evaluated not in listed(tmp_path)["eval"]


@pytest.mark.parametrize("emptied", ["train", "eval"])
def test_no_list_is_left_empty_while_there_are_good_clips(tmp_path, emptied):
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    bad = listed(tmp_path)[emptied]
    for left_out in (bad, [clip for clip in CLIPS if clip not in (CLIPS[0], CLIPS[1])], CLIPS[1:]):
        update_lists(tmp_path, tmp_path / "root", [clip for clip in CLIPS if clip not in left_out], left_out)
        lists = listed(tmp_path)
        assert lists["train"] and lists["eval"]
        assert {*lists["train"], *lists["eval"]} == {*CLIPS} - {*left_out}
        assert len(left_out) == len(CLIPS) - 1 or not set(lists["train"]) & set(lists["eval"])


def test_a_kill_while_lists_are_written_loses_no_clip(tmp_path, monkeypatch):
    whole, written = filelists.write_text, []

    def killed(path, text):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(path)
        whole(path, text)

    for stop in range(2):
        folder = tmp_path / str(stop)
        folder.mkdir()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(filelists, "write_text", killed)
            written.clear()
            update_lists(folder, tmp_path / "root", CLIPS)
        update_lists(folder, tmp_path / "root", CLIPS)
        lists = listed(folder)
        assert sorted(lists["train"] + lists["eval"]) == sorted(CLIPS)


AWKWARD = [
    "g/a ", "g/a\t", "g/a\r", "g/a\nb", "g/a\u2028", "g\u2028/b", "g/a\x85b", "g/a\x0c", "g/\xa0", '"g/a"', "\ufeffg/a",
    " g/a", "g/a 0", "g/a", os.fsdecode(b"g/\xe9"),
]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_every_listed_clip_is_found_again_whatever_its_name(tmp_path):
    root = tmp_path / "root"
    for name in AWKWARD:
        (root / name).mkdir(parents=True)
    for _ in range(2):
        update_lists(tmp_path, root, AWKWARD)
        found = [clip for split in ("train", "eval") for clip in listed_clips(tmp_path, split, root)]
        assert sorted(found) == sorted(root / name for name in AWKWARD)
    assert "g/a 0\n" in (tmp_path / "train.txt").read_text(encoding="utf-8")  # as other programs read it


def test_lists_are_read_as_published_ones_are_written(tmp_path):
    for name in ("a b", "c"):
        (tmp_path / "root" / "talk" / name).mkdir(parents=True)
    (tmp_path / "train.txt").write_text("talk/a b\ntalk/c 0\n\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("talk/c\n", encoding="utf-8")
    assert [clip.name for clip in listed_clips(tmp_path, "train", tmp_path / "root")] == ["a b", "c"]
    assert [clip.name for clip in listed_clips(tmp_path, "eval", tmp_path / "root")] == ["c"]


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "root" / "talk").mkdir(parents=True)
    with pytest.raises(InputError, match="no such folder"):
        listed_clips(tmp_path, "train", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"train\.txt: no such list"):
        listed_clips(tmp_path, "train", tmp_path / "root")
    (tmp_path / "train.txt").write_text("talk/a\ntalk/b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"2 of its 2 clips are not below .*talk/a"):
        listed_clips(tmp_path, "train", tmp_path / "root")
    (tmp_path / "train.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="is empty"):
        listed_clips(tmp_path, "train", tmp_path / "root")
