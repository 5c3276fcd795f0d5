"""Extra checks on real footage, where a folder of it lies beside the project; skipped elsewhere."""

import json
from pathlib import Path

import pytest
import soundfile

CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "clips"


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason="no footage beside the project")
def test_photographed_faces_are_found_in_every_frame_and_sound_is_as_long_as_the_frames(tmp_path, script):
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in [
        *(CLIPS / "grid").glob("*.mpg"),
        CLIPS / "wild" / "square_30fps.mp4",
        CLIPS / "wild" / "hdtf_25fps.mp4",
    ]:
        (raw / path.name).write_bytes(path.read_bytes())
    result = script("preprocess", "--data_root", raw, "--preprocessed_root", tmp_path / "clips", "--filelists_dir",
                    tmp_path / "lists")  # fmt: skip
    assert result.code == 0
    records = json.loads((tmp_path / "clips" / "report.json").read_text(encoding="utf-8"))["clips"]
    assert len(records) == 8
    for record in records:
        assert record["faces"] >= 0.99 * record["frames"], record["clip"]
        sound = soundfile.info(tmp_path / "clips" / record["clip"] / "audio.wav")
        assert sound.frames / sound.samplerate == pytest.approx(record["frames"] / 25, abs=0.04)
        assert record["sound_seconds"] == pytest.approx(record["seconds"], abs=0.05)
