"""Every way in which a recording can be bad has one message that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data.audio import AudioPolicy, inspect_audio, read_audio
from espnet_kd.errors import AudioError


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.sph"])
def test_formats_are_read(write_wave, name):
    path = write_wave(name)
    wave = read_audio(path, "utt")
    assert wave.shape == (16000,)
    assert wave.dtype == np.float32
    assert inspect_audio(path, "utt").seconds == 1.0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_sample_formats_agree(write_wave, subtype):
    wave = read_audio(write_wave(subtype=subtype), "utt")
    expected = np.random.default_rng(0).uniform(-0.5, 0.5, (16000, 1))[:, 0]
    assert np.abs(wave - expected).max() < 1e-4


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_too_short(write_wave, samples):
    with pytest.raises(AudioError, match=rf"utterance u7: .*a\.wav.*{samples} sample\(s\).*400"):
        read_audio(write_wave(samples=samples), "u7")


def test_shortest_length_passes(write_wave):
    assert len(read_audio(write_wave(samples=400), "u")) == 400


def test_shortest_length_counts_time_not_samples(write_wave):
    policy = AudioPolicy(rate_policy="resample")
    assert len(read_audio(write_wave(samples=200, rate=8000), "u", policy)) == 400
    with pytest.raises(AudioError, match="at least 200"):
        read_audio(write_wave(samples=199, rate=8000), "u", policy)


@pytest.mark.parametrize("name", ["a.wav", "a.sph", "a.flac"])
def test_truncated_file_is_noticed(write_wave, name):
    path = write_wave(name)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AudioError, match=r"utterance u: .*a\.(wav|sph|flac)"):
        read_audio(path, "u")


@pytest.mark.parametrize("name", ["a.wav", "a.sph", "a.flac"])
def test_truncation_shows_in_the_header_check(write_wave, name):
    path = write_wave(name)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AudioError, match=r"truncated: .* 16000 samples"):
        inspect_audio(path, "u")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(tmp_path, bad):
    wave = np.zeros(1000, np.float32)
    wave[17] = bad
    soundfile.write(str(tmp_path / "n.wav"), wave, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="1 sample.* first at 17"):
        read_audio(tmp_path / "n.wav", "u")


def test_silence_is_allowed_with_a_warning(tmp_path):
    soundfile.write(str(tmp_path / "z.wav"), np.zeros(1000), 16000)
    with pytest.warns(UserWarning, match="utterance u.*silent"):
        read_audio(tmp_path / "z.wav", "u")


@pytest.mark.parametrize("rate", [8000, 44100])
def test_rate_is_refused_unless_asked(write_wave, rate):
    path = write_wave(samples=rate, rate=rate)
    with pytest.raises(AudioError, match=rf"{rate} Hz, 16000 Hz is needed.*resample"):
        read_audio(path, "u")
    assert len(read_audio(path, "u", AudioPolicy(rate_policy="resample"))) == 16000


def test_stereo_is_refused_unless_asked(write_wave):
    path = write_wave(channels=2)
    with pytest.raises(AudioError, match="2 channels"):
        read_audio(path, "u")
    both, _ = soundfile.read(str(path), dtype="float32")
    np.testing.assert_array_equal(read_audio(path, "u", AudioPolicy(channels="first")), both[:, 0])


def test_longest_length(write_wave):
    with pytest.raises(AudioError, match="1.0 s, more than the limit of 0.5 s"):
        inspect_audio(write_wave(), "u", AudioPolicy(max_seconds=0.5))


def _zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("this is no wave\n" * 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_zero_bytes, "0 bytes"),
        (_text, "not readable as audio"),
        (Path.mkdir, "is a folder"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_not_audio(tmp_path, make, message):
    make(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=rf"utterance u: .*a\.wav: .*{message}"):
        read_audio(tmp_path / "a.wav", "u")


def test_streamed_header_makes_no_promise(write_wave):
    path = write_wave(subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert len(read_audio(path, "u")) == 16000


def test_files_in_memory_are_checked_like_those_on_the_disk(write_wave):
    content = write_wave(samples=4000).read_bytes()
    np.testing.assert_array_equal(
        read_audio("row 3", "u", content=content), read_audio(write_wave(samples=4000), "u")
    )
    for bad, message in (
        (b"", "row 3: there are 0 bytes"),
        (b"text" * 20, "row 3: not readable as audio"),
        (content[:2000], "row 3: truncated: the header promises 4000"),
    ):
        with pytest.raises(AudioError, match=message):
            read_audio("row 3", "u", content=bad)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_stretch_is_read_without_the_rest(write_wave, rate):
    path = write_wave(samples=rate, rate=rate)
    policy = AudioPolicy(rate_policy="resample")
    whole = read_audio(path, "u", policy)
    part = read_audio(path, "u", policy, span=(4000, 8001))
    assert len(part) == 4001
    # Away from its borders a resampled stretch is that of the whole recording.
    inner = slice(200, -200)
    np.testing.assert_allclose(part[inner], whole[4000:8001][inner], atol=1e-4)
