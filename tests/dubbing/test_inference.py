"""Dubbing: what comes out for whom, and what is refused."""

import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
import soundfile
import torch

import audio
import golden
from conftest import NARROW
from footage import encode
from media.reader import VideoReader
from media.sound import read_audio
from media.writer import VideoWriter
from models import Wav2Lip, checkpoint
from portrait import SPEECH, portrait
from runs import save_forms

RATE = 16_000
BOX = ["--box", 57, 177, 178, 273]
PLAIN = ["--precision", "fp32", "--silence", "model"]


def frames_of(path):
    return list(VideoReader(path).frames())


def test_the_mouth_changes_the_rest_stays_and_the_picture_lasts_as_long_as_the_speech(dub, talking, speech, tmp_path):
    result = dub()
    assert result.code == 0
    dubbed, original = frames_of(tmp_path / "out.mp4"), frames_of(talking)
    assert len(dubbed) == 25
    for ours, theirs in zip(dubbed, original, strict=False):
        difference = np.abs(ours.image.astype(float) - theirs.image).mean(axis=2)
        assert difference[140:175, 190:260].mean() > 15  # an untrained network paints grey
        assert difference[300:, :].mean() < 3
        assert difference[:, 320:].mean() < 3
    assert len(read_audio(tmp_path / "out.mp4", RATE)) == pytest.approx(RATE, abs=RATE * 0.03)
    report = json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))
    assert (report["frames"], report["dubbed"], report["unchanged"]) == (25, 25, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_the_network_is_given_crop_mask_and_mel_as_in_training(generator, talking, speech, dub, tmp_path, monkeypatch):
    seen = []
    real = Wav2Lip.forward

    def forward(self, mel, faces):
        seen.append((mel, faces))
        return real(self, mel, faces)

    monkeypatch.setattr(Wav2Lip, "forward", forward)
    assert dub(*BOX, *PLAIN, "--wav2lip_batch_size", 10).code == 0
    mel, faces = torch.cat([m for m, _ in seen]), torch.cat([f for _, f in seen])
    assert mel.shape == (25, 1, 80, 16)
    expected = audio.melspectrogram(audio.load_wav(speech, RATE))
    for n, frame in enumerate(frames_of(talking)[:25]):
        start = max(0, min(int(3.2 * (n - 1) + 1e-6), expected.shape[1] - 16))
        assert np.array_equal(mel[n, 0], expected[:, start : start + 16])
        crop = cv2.resize(frame.image[57:177, 178:273], (96, 96)).transpose(2, 0, 1) / 255
        assert np.abs(faces[n, 3:].numpy() - crop).mean() < 0.5 / 255  # colours of parts and of whole frames
        assert (faces[n, :3, 48:] == 0).all()
        assert torch.equal(faces[n, :3, :48], faces[n, 3:, :48])


def test_published_timing_starts_the_mel_a_frame_later_and_ends_with_its_last_window(
    dub, speech, tmp_path, monkeypatch
):
    starts = []
    real = Wav2Lip.forward
    monkeypatch.setattr(Wav2Lip, "forward", lambda self, mel, faces: starts.append(mel) or real(self, mel, faces))
    assert dub(*BOX, *PLAIN, "--published_timing").code == 0
    mel = audio.melspectrogram(audio.load_wav(speech, RATE))
    expected = []
    for n in range(100):
        expected.append(min(int(n * 80 / 25), mel.shape[1] - 16))
        if int(n * 80 / 25) + 16 > mel.shape[1]:
            break
    windows = torch.cat(starts)[:, 0].numpy()
    assert len(windows) == len(expected) == len(frames_of(tmp_path / "out.mp4"))
    assert all(np.array_equal(window, mel[:, s : s + 16]) for window, s in zip(windows, expected, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_checkpoint_in_every_accepted_form_gives_identical_frames(dub, tmp_path):
    network = Wav2Lip(NARROW.width).eval()
    (tmp_path / "forms").mkdir()
    results = []
    for name, path in save_forms(network, tmp_path / "forms").items():
        given = ["--checkpoint_path", path, "--hparams", f"width={NARROW.width}", "--preview", 0.2]
        assert dub(*BOX, *given).code == 0, name
        results.append(np.stack([frame.image for frame in frames_of(tmp_path / "out.mp4")]))
    assert len(results) == 7
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.slow
def test_a_video_is_played_again_when_the_speech_is_longer(dub, talking, tmp_path):
    assert dub("--audio", SPEECH).code == 0
    frames = frames_of(tmp_path / "out.mp4")
    seconds = len(audio.load_wav(SPEECH, RATE)) / RATE
    assert frames[-1].time + 0.04 == pytest.approx(seconds, abs=0.05)
    assert np.allclose(np.diff([frame.time for frame in frames]), 0.04, atol=1e-3)
    original = np.stack([frame.image[300:] for frame in frames_of(talking)]).astype(float)
    for n in (60, 130, 249):
        assert np.abs(original - frames[n].image[300:]).mean(axis=(1, 2, 3)).argmin() == n % 50


def test_a_picture_and_a_first_frame_alone_are_dubbed(dub, tmp_path):
    cv2.imencode(".png", portrait())[1].tofile(tmp_path / "porträt.png")
    assert dub("--face", tmp_path / "porträt.png", "--fps", 30).code == 0
    assert len(frames_of(tmp_path / "out.mp4")) == 30
    assert dub("--static", "True").code == 0
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 25
    assert np.abs(frames[20].image.astype(float) - frames[0].image)[300:].mean() < 1


def test_frames_without_a_face_pass_through_and_are_counted(dub, tmp_path):
    empty = np.full((512, 512, 3), 90, np.uint8)
    with VideoWriter(tmp_path / "mixed.mp4", Fraction(25)) as writer:
        for n in range(50):
            writer.write(portrait() if n < 8 or n >= 20 else empty, n / 25)
    result = dub("--face", tmp_path / "mixed.mp4")
    assert result.code == 0
    assert "12 left unchanged" in result.out
    report = json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))
    assert (report["dubbed"], report["unchanged"]) == (13, 12)
    assert np.abs(frames_of(tmp_path / "out.mp4")[12].image.astype(float) - 90).max() < 4


def test_variable_frame_rate_is_kept(dub, tmp_path):
    times = np.cumsum([0.0, *np.tile([0.033, 0.067, 0.033, 0.02], 8)])
    with VideoWriter(tmp_path / "phone.mov", Fraction(30)) as writer:
        for time in times:
            writer.write(portrait(), float(time))
    assert dub("--face", tmp_path / "phone.mov", *BOX, "--fps", "source").code == 0
    shown = [time for time in times if time < 1.0]
    assert np.allclose([frame.time for frame in frames_of(tmp_path / "out.mp4")], shown, atol=2e-3)


def test_resize_rotate_and_crop_apply_in_this_order(dub, talking, tmp_path):
    assert dub("--resize_factor", 2, "--rotate", "--crop", 0, 200, 20, -1, "--box", 100, 150, 150, 200).code == 0
    ours = frames_of(tmp_path / "out.mp4")[0].image
    expected = cv2.rotate(cv2.resize(frames_of(talking)[0].image, (256, 256)), cv2.ROTATE_90_CLOCKWISE)[0:200, 20:]
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(float) - expected)[:90].mean() < 4


def test_the_published_box_default_means_detection(dub, tmp_path):
    assert "faces by" in dub("--box", -1, -1, -1, -1).out


def test_the_result_goes_to_a_file_or_into_a_folder_with_any_name(dub, tmp_path):
    odd = tmp_path / 'it\'s "ü" out'
    assert dub(*BOX, "--out-file", odd).code == 0
    assert (odd / "talking head_a speech.mp4").exists()
    assert dub(*BOX, "--outfile", odd / "é.mkv").code == 0
    assert len(frames_of(odd / "é.mkv")) == 25


def test_the_page_of_an_earlier_dub_is_brought_up_to_date(dub, tmp_path):
    page, short = tmp_path / "out.mp4.html", [*BOX, "--no_score"]
    dub(*short, "--preview", "0.2", "--report")
    earlier = page.read_text(encoding="utf-8")
    assert dub(*short, "--preview", "0.4").code == 0
    assert page.read_text(encoding="utf-8") != earlier
    page.unlink()
    assert dub(*short, "--preview", "0.2").code == 0
    assert not page.exists()  # where nobody asked for one


def test_speech_may_come_from_a_video(dub, talking, tmp_path):
    assert dub(*BOX, "--audio", talking).code == 0
    assert 50 <= len(frames_of(tmp_path / "out.mp4")) <= 52  # AAC rounds up to whole blocks of 1024 samples


@pytest.mark.slow
def test_bad_input_gets_one_line_and_leaves_nothing(dub, generator, talking, tmp_path):
    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def wav(name, samples):
        soundfile.write(tmp_path / name, samples, RATE)
        return tmp_path / name

    torch.save(golden.state_dict("s3fd"), tmp_path / "s3fd.pth")
    whole = talking.read_bytes()
    mute = encode(tmp_path / "mute.mp4", "libx264")
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, 2 * RATE)
    cases = [
        (["--face", tmp_path / "missing.mp4"], "missing.mp4: no such file"),
        (["--face", file("empty.mp4", b"")], "empty.mp4: is empty"),
        (["--face", file("text.mp4", b"a text\n" * 99)], "text.mp4: is not a readable video"),
        (["--face", file("cut.mp4", whole[: len(whole) // 3])], "cut.mp4: is truncated"),
        (["--face", file("broken.png", b"no png")], "broken.png: none of its pictures can be decoded"),
        (["--face", mute], "no face found"),
        (["--audio", tmp_path / "missing.wav"], "missing.wav: no such file"),
        (["--audio", mute], "mute.mp4: has no sound track"),
        (["--audio", wav("short.wav", noise[:1600])], "short.wav: lasts 0.10 s"),
        (["--audio", wav("silent.wav", noise * 0)], "silent.wav: is silent"),
        (["--audio", file("text.wav", b"a text\n" * 99)], "text.wav: is not a readable video"),
        (["--checkpoint_path", file("html.pth", b"<html>")], "html.pth: is a web page"),
        (["--checkpoint_path", file("cut.pth", generator.read_bytes()[:9999])], "cut.pth: is truncated"),
        (["--checkpoint_path", tmp_path], "is a folder; give a weight file in it"),
        (["--checkpoint_path", "/dev/zero"], "file"),  # without an end; on Windows there is none
        (["--hparams", "img_size=128"], "img_size=128: the networks take 96 alone"),
        (["--refine", tmp_path / "missing.pth"], "--refine"),
        (["--checkpoint_path", tmp_path / "s3fd.pth"], "s3fd.pth: is a face detector (S3FD); a generator"),
        (["--outfile", tmp_path / "text.mp4" / "out.mp4"], "cannot write there"),
        (["--outfile", tmp_path / "out.xyz"], "cannot write .xyz"),
        (["--outfile", talking], "is the file given as --face"),
        (["--box", 0, 9999, 0, 10], "--box 0 9999 0 10: does not lie inside"),
        (["--crop", 300, 200, 0, -1], "--crop"),
    ]
    before = {path.name for path in tmp_path.iterdir()}
    for arguments, said in cases:
        result = dub(*arguments)
        assert result.code == 2, arguments
        assert said in result.error
        assert "\n" not in result.error
    assert {path.name for path in tmp_path.iterdir()} == before


def test_debug_shows_the_traceback(generator, tmp_path, speech):
    import inference
    from utils import cli
    from utils.errors import InputError

    given = ["--checkpoint_path", generator, "--face", tmp_path / "x.mp4", "--audio", speech, "--debug"]
    with pytest.raises(InputError):
        cli.run(inference.main, inference.parse_args, [str(argument) for argument in given])


def test_a_finetuned_checkpoint_rebuilds_its_network_from_its_own_values(generator):
    network, hp = checkpoint.load_network(generator, Wav2Lip)
    assert hp.width == NARROW.width
    assert not network.training


def test_clicks_stay_where_they_were_in_the_sound(dub, speech, tmp_path):
    wav = audio.load_wav(speech, RATE) * 0.3
    wav[RATE // 2 : RATE // 2 + 60] = 0.95
    audio.save_wav(wav, tmp_path / "click.wav", RATE)
    assert dub(*BOX, "--audio", tmp_path / "click.wav").code == 0
    heard = read_audio(tmp_path / "out.mp4", RATE)
    assert np.argmax(np.abs(heard) > 0.6) / RATE == pytest.approx(0.5, abs=0.003)


def test_quiet_speech_is_raised_for_the_network_alone_and_the_record_says_so(dub, speech, tmp_path):
    wav = audio.load_wav(speech, RATE)
    soundfile.write(tmp_path / "quiet.wav", wav * 0.03, RATE)
    flags = ["--audio", tmp_path / "quiet.wav", "--preview", 0.4, "--box", 57, 177, 178, 273, "--outfile"]
    result = dub(*flags, tmp_path / "auto.mp4")
    record = json.loads((tmp_path / "auto.mp4.json").read_text(encoding="utf-8"))
    assert len(record["findings"]) == 1
    assert f"found: {record['findings'][0]}\n" in result.out
    assert record["findings"][0].startswith("speech raised by ")
    kept = dub(*flags, tmp_path / "keep.mp4", "--level", "keep")
    assert "found: " not in kept.out
    heard = [read_audio(tmp_path / f"{level}.mp4", RATE) for level in ("auto", "keep")]
    assert np.array_equal(*heard)
    assert np.abs(heard[0]).max() < 0.04
