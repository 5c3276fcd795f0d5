"""Dubbing: what comes out for whom, and what is refused."""

import hashlib
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import safetensors.numpy
import soundfile
import torch

import audio
from dubbing import Dubber, Options
from footage import BOX, encode, planes_of, record_of, write_video
from media.reader import VideoReader, read_image
from media.sound import read_audio
from models import Wav2Lip
from portrait import SPEECH, portrait, talking_frames
from utils import images

RATE = 16_000


def frames_of(path):
    return list(VideoReader(path).frames())


@pytest.fixture(scope="module")
def plain(generator, talking, speech, tmp_path_factory) -> SimpleNamespace:
    """A lossless dub of a video that lasts longer than the speech: out, record, and what the network was given."""
    out = tmp_path_factory.mktemp("plain") / "out.mkv"
    options = Options(
        checkpoint_path=generator, box=(57, 177, 178, 273), precision="fp32", silence="model", codec="ffv1",
        wav2lip_batch_size=10, keep_length=True,
    )  # fmt: skip
    seen, real = [], Wav2Lip.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wav2Lip, "forward", lambda self, *given: seen.append(given) or real(self, *given))
        record = Dubber(options).dub(talking, speech, out)
    mel, faces = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return SimpleNamespace(out=out, record=record, mel=mel, faces=faces)


def test_outside_the_mouth_and_after_the_speech_every_sample_stays_as_the_decoder_gave_it(plain, talking):
    assert (plain.record.frames, plain.record.dubbed, plain.record.unchanged) == (50, 25, 25)
    assert sorted(path.name for path in plain.out.parent.iterdir()) == ["out.mkv", "out.mkv.json"]
    both = list(zip(planes_of(plain.out), planes_of(talking), strict=True))
    for ours, theirs in both[25:]:
        assert all(np.array_equal(new, old) for new, old in zip(ours, theirs, strict=True))
    for ours, theirs in both[:25]:
        for new, old in zip(ours, theirs, strict=True):
            scale = 512 // new.shape[0]
            changed = np.argwhere(new != old) * scale
            assert changed.min(axis=0)[0] >= 117 - scale  # the lower half of the box
            assert changed.max(axis=0)[0] < 177
            assert changed.min(axis=0)[1] >= 178 - scale
            assert changed.max(axis=0)[1] < 273
        assert np.abs(ours[0][140:165, 205:245].astype(int) - theirs[0][140:165, 205:245]).mean() > 5
    assert len(read_audio(plain.out, RATE)) == pytest.approx(RATE, abs=RATE * 0.03)


def test_the_network_is_given_crop_mask_and_mel_as_in_training(plain, talking, speech):
    expected = audio.melspectrogram(audio.load_wav(speech, RATE))
    assert plain.mel.shape == (25, 1, 80, 16)
    for n, frame in enumerate(frames_of(talking)[:25]):
        start = max(0, min(int(3.2 * (n - 1) + 1e-6), expected.shape[1] - 16))
        assert np.array_equal(plain.mel[n, 0], expected[:, start : start + 16])
        crop = cv2.resize(frame.image[57:177, 178:273], (96, 96)).transpose(2, 0, 1) / 255
        assert np.abs(plain.faces[n, 3:].numpy() - crop).mean() < 0.5 / 255  # colours of parts and of whole frames
        assert (plain.faces[n, :3, 48:] == 0).all()
        assert torch.equal(plain.faces[n, :3, :48], plain.faces[n, 3:, :48])


def test_the_published_timing_and_paste_start_the_mel_later_and_put_the_whole_box_back(
    dub, talking, speech, tmp_path, monkeypatch
):
    given, real, out = [], Wav2Lip.forward, tmp_path / "out.mkv"
    monkeypatch.setattr(Wav2Lip, "forward", lambda self, mel, faces: given.append(mel) or real(self, mel, faces))
    flags = [*BOX, "--precision", "fp32", "--silence", "model", "--codec", "ffv1", "--no_score", "--outfile", out]
    assert dub(*flags, "--published_timing", "--paste", "box").code == 0
    mel = audio.melspectrogram(audio.load_wav(speech, RATE))
    starts = [int(n * 80 / 25) for n in range(100) if int((n - 1) * 80 / 25) + 16 <= mel.shape[1]]  # to the last window
    for window, start in zip(torch.cat(given)[:, 0].numpy(), starts, strict=True):
        start = min(start, mel.shape[1] - 16)
        assert np.array_equal(window, mel[:, start : start + 16])
    frames = planes_of(out)
    assert len(frames) == len(starts)
    ours, theirs = frames[5][0], planes_of(talking)[5][0]
    assert (ours[57:177, 178:273] != theirs[57:177, 178:273]).mean() > 0.9
    ours[57:177, 178:273] = theirs[57:177, 178:273]
    assert np.array_equal(ours, theirs)


def test_a_picture_and_a_first_frame_alone_are_dubbed(dub, tmp_path):
    cv2.imencode(".png", portrait())[1].tofile(tmp_path / "porträt.png")
    short = ["--preview", 0.4, "--no_score"]
    assert dub("--face", tmp_path / "porträt.png", "--fps", 30, *short).code == 0
    assert len(frames_of(tmp_path / "out.mp4")) == 12
    assert "faces by" in dub("--static", "True", *short, "--box", -1, -1, -1, -1).out  # -1: as without a box
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 10
    assert np.abs(frames[9].image.astype(float) - frames[0].image)[300:].mean() < 1


def test_resize_rotate_and_crop_apply_in_this_order(dub, talking, tmp_path):
    flags = ["--resize_factor", 2, "--rotate", "--crop", 0, 200, 20, -1, "--box", 100, 150, 150, 200]
    assert dub(*flags, "--preview", 0.2, "--no_score").code == 0
    ours = frames_of(tmp_path / "out.mp4")[0].image
    expected = cv2.rotate(cv2.resize(frames_of(talking)[0].image, (256, 256)), cv2.ROTATE_90_CLOCKWISE)[0:200, 20:]
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(float) - expected)[:90].mean() < 4


def test_a_label_and_a_video_beside_the_source_are_made_where_they_are_asked_for(dub, talking, tmp_path):
    assert dub(*BOX, "--preview", 0.2, "--no_score", "--label", "--side_by_side").code == 0
    source, labelled = (frames_of(path)[3].image for path in (talking, tmp_path / "out.mp4"))
    changed = np.abs(labelled.astype(int) - source).max(axis=2) > 40
    assert changed[488:510, 2:70].mean() > 0.7 and changed[400:480].mean() < 0.01
    beside = frames_of(tmp_path / "out.mp4.side_by_side.mp4")
    assert len(beside) == 5 and beside[3].image.shape == (512, 1024, 3)
    assert (
        np.abs(beside[3].image[:, :512].astype(int) - source).mean()
        < 3
        < np.abs(beside[3].image[488:510, 512:580].astype(int) - source[488:510, :68]).mean()
    )


def test_the_result_goes_to_a_file_or_into_a_folder_with_any_name(dub, tmp_path):
    odd = tmp_path / 'it\'s "ü" out'
    short = [*BOX, "--preview", 0.2, "--no_score"]
    assert dub(*short, "--out-file", odd).code == 0
    assert (odd / "talking head_a speech.mp4").exists()
    assert dub(*short, "--outfile", odd / "é.mkv", "--codec", "libx265").code == 0
    with av.open(str(odd / "é.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert len(list(container.decode(video=0))) == 5


@pytest.mark.slow
def test_bad_input_gets_one_line_and_leaves_nothing(dub, expert, talking, tmp_path):
    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def wav(name, samples):
        soundfile.write(tmp_path / name, samples, RATE)
        return tmp_path / name

    mute = encode(tmp_path / "mute.mp4", "libx264")
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, 2 * RATE)
    unknown = file("unknown.safetensors", safetensors.numpy.save({"of.no.network": np.zeros(2)}))
    cases = [
        (["--face", tmp_path / "missing.mp4"], "missing.mp4"),
        (["--face", file("text.mp4", b"a text\n" * 99)], "text.mp4"),
        (["--face", mute], "no face found"),
        (["--audio", mute], "mute.mp4: has no sound track"),
        (["--audio", wav("short.wav", noise[:1600])], "short.wav: lasts 0.10 s"),
        (["--audio", wav("silent.wav", noise * 0)], "silent.wav: is silent"),
        (["--checkpoint_path", file("html.pth", b"<html>")], "html.pth"),
        (["--checkpoint_path", expert], "expert.pth"),
        (["--checkpoint_path", unknown], "is no network of this project; a generator (Wav2Lip) is needed here"),
        (["--hparams", "img_size=128"], "img_size=128"),
        (["--outfile", tmp_path / "text.mp4" / "out.mp4"], "cannot write there"),
        (["--outfile", tmp_path / "out.xyz"], ".xyz"),
        (["--outfile", talking], "--face"),
        (["--box", 0, 9999, 0, 10], "--box 0 9999 0 10"),
        (["--crop", 300, 200, 0, -1], "--crop"),
        (["--codec", "prores", "--outfile", tmp_path / "a.mp4"], "prores"),
        (["--crf", 60], "at most 40"),
        (["--align", "--face_detector", "sfd"], "sfd"),
        (["--preview", "nan"], "--preview nan"),
    ]
    before = {path.name for path in tmp_path.iterdir()}
    for arguments, said in cases:
        result = dub(*arguments)
        assert result.code == 2, arguments
        assert said in result.error
        assert "\n" not in result.error
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_the_record_says_what_was_done_when_and_how_well(dub, generator, tmp_path):
    wav = read_audio(SPEECH, RATE)[: 3 * RATE]
    pictures = list(talking_frames(wav, 25))
    for n in (30, *range(40, 60)):
        pictures[n] = np.full((512, 512, 3), 90, np.uint8)
    hidden = slice(60, 175), slice(180, 270)  # the eyes, in one frame
    pictures[20][hidden] = cv2.GaussianBlur(pictures[20], (0, 0), 12)[hidden]
    write_video(tmp_path / "mixed.mp4", pictures)
    soundfile.write(tmp_path / "three.wav", wav, RATE)
    result = dub("--face", tmp_path / "mixed.mp4", "--audio", tmp_path / "three.wav", "--report")
    assert "21 left unchanged" in result.out
    record = record_of(tmp_path / "out.mp4")
    assert (record["dubbed"], record["interpolated"], record["unchanged"]) == (53, 1, 21)
    assert record["ranges"]["unchanged"] == [[1.2, 1.24], [1.6, 2.4]]
    assert record["ranges"]["interpolated"] == [[0.8, 0.84]]
    assert np.abs(frames_of(tmp_path / "out.mp4")[50].image.astype(float) - 90).max() < 4
    assert record["generator"]["sha256"] == hashlib.sha256(generator.read_bytes()).hexdigest()
    assert {"read", "generate", "composite", "encode", "faces"} <= record["busy"].keys()
    assert record["sync"]["scorer"].endswith("lipsync_expert_small.safetensors")
    assert [second["second"] for second in record["sync"]["seconds"]] == [0, 1]  # later the sound ends
    drawn = read_image(tmp_path / "out.mp4.png")
    width = images.LABEL_WIDTH + 6 * 240  # two of the eight times show no face
    assert drawn.shape == (images.HEAD_HEIGHT + 3 * 240, width, 3)
    rows = drawn[images.HEAD_HEIGHT :]
    source, result, difference = (row[:, images.LABEL_WIDTH :].astype(int) for row in np.split(rows, 3))
    assert np.abs(source - result).max() > 40
    assert difference[150:].max() > 100
    assert difference[:80].max() < 30  # above the mouth nothing differs
