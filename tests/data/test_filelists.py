"""Lists that keep every clip where it is, and errors about lists that do not fit."""

import itertools
import os

import pytest

from data.filelists import Split, listed_clips, split, update_lists
from utils.errors import InputError

CLIPS = [f"talk/clip {n}" for n in range(40)]
NONE = Split([], [])


def listed(folder):
    return [(folder / f"{name}.txt").read_text(encoding="utf-8").splitlines() for name in ("train", "eval")]


def test_every_clip_is_in_one_list_and_keeps_it_however_many_come_at_once():
    whole, grown = split(CLIPS, NONE), NONE
    for end in (5, 10, 25, 40):
        before, grown = grown, split(CLIPS[:end], grown)
        assert sorted(grown.train + grown.evaluation) == sorted(CLIPS[:end])
        assert grown.evaluation
        assert grown.train[: len(before.train)] == before.train
        assert grown.evaluation[: len(before.evaluation)] == before.evaluation
        assert end > 5 or len(grown.evaluation) == 1
    assert len({*whole.evaluation} ^ {*grown.evaluation}) <= 1  # the one held out while there were few


def test_a_clip_left_out_comes_back_and_a_single_one_is_in_both_lists_until_others_come():
    without = split(CLIPS[2:], split(CLIPS, NONE), left_out=CLIPS[:2])
    assert sorted(without.train + without.evaluation) == sorted(CLIPS[2:])
    back = split(CLIPS, without)
    assert sorted(back.train + back.evaluation) == sorted(CLIPS)
    alone = split(CLIPS[:1], NONE)
    assert alone.train == alone.evaluation == CLIPS[:1]
    for lists, clips in ((split(CLIPS[:2], alone), 2), (split(CLIPS, alone), 40)):
        assert CLIPS[0] in lists.train
        assert sorted(lists.train + lists.evaluation) == sorted(CLIPS[:clips])


def test_a_line_moved_or_removed_by_hand_stays_so(tmp_path):
    update_lists(tmp_path, tmp_path / "root", CLIPS[:10])
    (moved, removed, *train), evaluation = listed(tmp_path)
    (tmp_path / "train.txt").write_text("\n".join(train), encoding="utf-8")
    (tmp_path / "eval.txt").write_text("\n".join([*evaluation, moved]), encoding="utf-8")
    update_lists(tmp_path, tmp_path / "root", CLIPS[:12])
    train, evaluation = listed(tmp_path)
    assert moved in evaluation
    assert moved not in train
    assert {*train, *evaluation} == {*CLIPS[:12]} - {removed}
    for name in ("train", "eval"):
        (tmp_path / f"{name}.txt").unlink()
    update_lists(tmp_path, tmp_path / "root", CLIPS[:12])
    assert {*itertools.chain(*listed(tmp_path))} == {*CLIPS[:12]}


def test_lists_written_by_hand_are_only_commented_and_those_of_another_root_renamed(tmp_path):
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    (by_hand / "train.txt").write_text("talk/clip 0\ntalk/clip 1\n", encoding="utf-8")
    (said,) = update_lists(by_hand, tmp_path / "root", CLIPS[1:3], left_out=CLIPS[:1])
    assert "they lack: 1; clips in them that cannot be used: 1" in said
    assert (by_hand / "train.txt").read_text(encoding="utf-8").splitlines() == CLIPS[:2]

    update_lists(tmp_path, tmp_path / "root", CLIPS[:5])
    old, _ = listed(tmp_path)
    said = update_lists(tmp_path, tmp_path / "other", CLIPS[5:10])
    assert "train.1.txt" in said[0]
    assert (tmp_path / "train.1.txt").read_text(encoding="utf-8").splitlines() == old
    assert {*itertools.chain(*listed(tmp_path))} == {*CLIPS[5:10]}


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
        found = [clip for name in ("train", "eval") for clip in listed_clips(tmp_path, name, root)]
        assert sorted(found) == sorted(root / name for name in AWKWARD)
    assert "g/a 0\n" in (tmp_path / "train.txt").read_text(encoding="utf-8")  # as other programs read it


def test_lists_are_read_as_published_ones_and_as_editors_on_windows_write_them(tmp_path):
    for name in ("a b", "c"):
        (tmp_path / "root" / "talk" / name).mkdir(parents=True)
    (tmp_path / "train.txt").write_text("talk/a b\ntalk/c 0\n\n", encoding="utf-8-sig")
    (tmp_path / "val.txt").write_text("talk/c\n", encoding="utf-8")
    assert [clip.name for clip in listed_clips(tmp_path, "train", tmp_path / "root")] == ["a b", "c"]
    assert [clip.name for clip in listed_clips(tmp_path, "eval", tmp_path / "root")] == ["c"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, r"train\.txt: no such list"),
        (b"talk/a\ntalk/b\n", r"2 of its 2 clips are not below .*talk/a"),
        (b"\n", "is empty"),
        ("talk/é\n".encode("latin-1"), r"train\.txt: is no text in UTF-8"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path, content, error):
    (tmp_path / "root" / "talk").mkdir(parents=True)
    with pytest.raises(InputError, match="no such folder"):
        listed_clips(tmp_path, "train", tmp_path / "nowhere")
    if content is not None:
        (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(InputError, match=error):
        listed_clips(tmp_path, "train", tmp_path / "root")


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"clips": []}', b'{"data_root": "a", "clips": 3}'])
def test_a_damaged_record_of_the_lists_is_named(tmp_path, content):
    update_lists(tmp_path, tmp_path / "root", CLIPS)
    (tmp_path / "known_clips.json").write_bytes(content)
    with pytest.raises(InputError, match=r"known_clips\.json: is damaged"):
        update_lists(tmp_path, tmp_path / "root", CLIPS)
