"""What is opened: files that hold what they show, of a size that fits into memory; no playlists and the like."""

import av
import pytest
from PIL import Image

from footage import click_track, encode, encode_sound, numbered
from media import opening
from media.formats import VIDEO_SUFFIXES
from media.opening import is_video
from media.reader import VideoReader
from media.sound import read_audio
from utils.errors import InputError

RATE = 16000
OTHER_ENCODERS = {".mpg": "mpeg1video", ".mpeg": "mpeg1video", ".vob": "mpeg2video", ".mxf": "mpeg2video"}
OTHER_ENCODERS |= {".webm": "libvpx", ".ogv": "libvpx", ".flv": "flv", ".wmv": "wmv2"}
POINTING = {  # at another file; as text with its name in place of {part}
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{part}\n",  # no end: a player waits for more
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{part}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{part}'\n",
    "list.concat": "ffconcat version 1.0\nfile part.ts\n",
    "call.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    "list.mpd": '<?xml version="1.0"?><MPD type="dynamic"><Period><BaseURL>{part}</BaseURL></Period></MPD>',
    "drawing.svg": '<svg xmlns="http://www.w3.org/2000/svg"><image width="9" height="9" href="{part}"/></svg>',
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("renamed", ["", ".mp4", ".wav"])
@pytest.mark.parametrize("name", POINTING)
def test_what_points_at_other_files_is_refused_under_any_name(tmp_path, monkeypatch, name, renamed):
    part = encode(tmp_path / "part.ts", "mpeg2video", sound=click_track(1.0, 0.5))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{name}{renamed}"
    path.write_text(POINTING[name].format(part=part))
    for read in (VideoReader, lambda path: read_audio(path, RATE)):
        with pytest.raises(InputError, match=r"is not a readable video or sound file.*convert it to MP4") as error:
            read(path)
        assert str(path) in str(error.value)
    assert not is_video(path) or renamed == ".mp4"


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_videos_of_every_suffix_are_read(tmp_path, suffix):
    path = encode(tmp_path / f"a{suffix}", OTHER_ENCODERS.get(suffix, "mpeg4"), size=(176, 144))
    assert VideoReader(path).width == 176


@pytest.mark.parametrize(("suffix", "encoder"), [
    (".wav", "pcm_s16le"), (".w64", "pcm_s16le"), (".aiff", "pcm_s16be"), (".au", "pcm_s16be"), (".caf", "pcm_s16le"),
    (".mp3", "libmp3lame"), (".m4a", "aac"), (".aac", "aac"), (".flac", "flac"), (".ogg", "flac"),
    (".opus", "libopus"), (".wma", "wmav2"), (".ac3", "ac3"), (".eac3", "eac3"), (".wv", "wavpack"), (".tta", "tta"),
])  # fmt: skip
def test_sound_of_every_common_kind_is_read(tmp_path, suffix, encoder):
    with av.open(str(tmp_path / f"a{suffix}"), "w") as out:
        track = out.add_stream(encoder, rate=48000, layout="mono", bit_rate=64_000)
        out.mux(encode_sound(track, click_track(1.0, 0.5, 48000)))
    assert len(read_audio(tmp_path / f"a{suffix}", RATE)) == pytest.approx(RATE, abs=0.1 * RATE)


def test_pictures_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    video = encode(tmp_path / "a.mp4", "libx264", frames=2)
    images = [Image.fromarray(numbered(n)) for n in range(4)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], lossless=True)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    monkeypatch.setattr(opening, "MOST_PIXELS", 160 * 119)
    monkeypatch.setattr(opening, "MOST_ANIMATED", 160 * 120 * 3)
    for path, said in ((video, "160x120 pixels are too large"), (tmp_path / "a.webp", "too long an animation")):
        with pytest.raises(InputError, match=said):
            VideoReader(path)
    with pytest.raises(InputError, match=r"a\.png: is too large a picture"), opening.open_picture(tmp_path / "a.png"):
        pass
