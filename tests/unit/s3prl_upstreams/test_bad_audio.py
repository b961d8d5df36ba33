from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
import soundfile
import torchaudio

from espnet_kd.errors import AudioError
from s3prl_upstreams import bad_audio
from s3prl_upstreams.bad_audio import checked, name_bad_audio, policy_of


def write(path, samples=1600, rate=16000, value=0.1, subtype="FLOAT"):
    soundfile.write(path, np.full(samples, value, dtype=np.float32), rate, subtype=subtype)
    return path


@pytest.fixture
def load():
    return checked(torchaudio.load, policy_of("asr"))


def test_good_recordings_pass_unchanged(load, tmp_path):
    wave, rate = load(write(tmp_path / "good.wav"))
    assert (wave.shape, rate) == ((1, 1600), 16000)
    assert float(wave[0, 0]) == np.float32(0.1)


def test_bad_recordings_are_named_with_the_reason(load, tmp_path):
    cut = write(tmp_path / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:3000])
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    empty = tmp_path / "empty.wav"
    empty.touch()
    cases = {
        cut: "truncated",
        text: "not readable as audio",
        empty: "0 bytes",
        tmp_path / "none.wav": "no such file",
        write(tmp_path / "nan.wav", value=np.nan): "NaN",
        write(tmp_path / "slow.wav", rate=8000): "8000 Hz",
    }
    for path, reason in cases.items():
        with pytest.raises(AudioError, match=reason) as error:
            load(path)
        assert path.stem in str(error.value)


def test_tasks_that_resample_take_other_rates(tmp_path):
    path = write(tmp_path / "slow.wav", rate=8000)
    assert checked(torchaudio.load, policy_of("emotion"))(path)[1] == 8000


def test_damage_inside_is_named(tmp_path):
    def read(path):
        raise RuntimeError("lost sync")

    with pytest.raises(AudioError, match=r"a.wav: damaged inside \(lost sync\)"):
        checked(read, policy_of("asr"))(str(write(tmp_path / "a.wav")))


def test_a_file_is_checked_again_when_it_was_written_again(load, tmp_path, monkeypatch):
    looked = []
    check = bad_audio.check_samples
    monkeypatch.setattr(bad_audio, "check_samples", lambda *a: (looked.append(a[1]), check(*a)))
    monkeypatch.setattr(bad_audio, "REMEMBERED", 2)
    path = write(tmp_path / "a.wav")
    for _ in range(3):
        load(path)
    assert looked == ["a"]
    for name in ("b", "c", "a"):
        load(write(tmp_path / f"{name}.wav"))
    assert looked == ["a", "b", "c", "a"]
    load(write(path, 1700))
    write(path, value=np.nan)
    for _ in range(2):
        with pytest.raises(AudioError, match=r"a.wav: 1600 sample"):
            load(path)


def test_readers_are_wrapped_once(monkeypatch):
    monkeypatch.setattr(torchaudio, "load", torchaudio.load)
    effects = torchaudio.sox_effects
    monkeypatch.setattr(effects, "apply_effects_file", effects.apply_effects_file)
    stock = getattr(torchaudio.load, "checks_audio", torchaudio.load)
    for _ in range(2):
        name_bad_audio(Namespace(downstream="asr"), {})
    assert torchaudio.load.checks_audio is stock
