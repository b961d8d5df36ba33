"""Comparison with the label as spoken by a synthesiser."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from espnet_kd.errors import DataDirError, KDError, MissingDependencyError
from espnet_kd.filtering import Item, MeasureOptions, build_measure
from espnet_kd.filtering.speech_distance import mel_cepstral_distance, warped
from espnet_kd.filtering.synthesiser import EspeakSynthesiser
from espnet_kd.filtering.synthetic import PESQ
from tests.unit.filtering.made_up import make_label

RATE = 16000


class Waves:
    def __init__(self, wave_S) -> None:
        self.wave_S = wave_S

    def wave(self, utterance: str):
        return self.wave_S


def tone(hertz: float, seconds: float = 0.5):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def chirp(seconds: float = 0.6, rising: bool = True):
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (300 * time + (1500 / seconds) * time**2)
    wave = (0.3 * np.sin(phase)).astype(np.float32)
    return wave if rising else np.ascontiguousarray(wave[::-1])


@pytest.fixture(scope="module")
def spoken():
    """Natural speech: another voice of the same engine says two sentences."""
    synthesiser = EspeakSynthesiser(MeasureOptions(tts_voice="en-us+f4"))
    words = "seven green bottles", "the weather is cold today"
    waves = synthesiser.say([Item(make_label(text=text)) for text in words], [1.5, 1.5])
    return dict(zip(words, waves, strict=True))


def test_distance_of_a_recording_to_itself_is_zero():
    assert mel_cepstral_distance(chirp(), chirp()) == pytest.approx(0.0, abs=1e-6)


def test_distance_forgives_speed_but_not_order():
    slower = mel_cepstral_distance(chirp(), chirp(0.9))
    backwards = mel_cepstral_distance(chirp(), chirp(rising=False))
    assert slower < 0.5 * backwards


def test_distance_is_symmetric_and_needs_two_frames():
    assert mel_cepstral_distance(chirp(), tone(700)) == pytest.approx(
        mel_cepstral_distance(tone(700), chirp())
    )
    assert mel_cepstral_distance(chirp(), chirp()[:500]) is None


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))


@given(SHAPES)
def test_warping_is_the_cheapest_path(shape):
    rows, columns, seed = shape
    cost = np.random.default_rng(seed).uniform(0, 1, (rows, columns))
    best = np.full((rows + 1, columns + 1), np.inf)
    best[0, 0] = 0.0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            here = cost[i - 1, j - 1]
            best[i, j] = min(
                best[i - 1, j] + here, best[i, j - 1] + here, best[i - 1, j - 1] + 2 * here
            )
    assert warped(cost) == pytest.approx(best[rows, columns])


def test_the_right_label_is_nearer(spoken):
    measure = build_measure("mcd", MeasureOptions(language="en"))
    for text, wave_S in spoken.items():
        found = measure.score([Item(make_label(text=said), Waves(wave_S)) for said in spoken])
        scores = {said: score.value for said, score in zip(spoken, found, strict=True)}
        assert min(scores, key=scores.__getitem__) == text


def test_the_same_label_sounds_the_same_whatever_was_said_before(spoken):
    synthesiser = EspeakSynthesiser(MeasureOptions(tts_voice="en-us+f4"))
    text, wave_S = list(spoken.items())[-1]
    (again_S,) = synthesiser.say([Item(make_label(text=text))], [1.5])
    np.testing.assert_array_equal(again_S, wave_S)


def test_speech_is_spoken_at_the_natural_speed():
    synthesiser = EspeakSynthesiser(MeasureOptions(language="en"))
    item = Item(make_label(text="one two three four five six seven"))
    lengths = [len(wave_S) / RATE for wave_S in synthesiser.say([item, item], [1.8, 3.0])]
    assert lengths == [pytest.approx(1.8, rel=0.2), pytest.approx(3.0, rel=0.2)]


def test_unknown_voice_names_the_remedy():
    synthesiser = EspeakSynthesiser(MeasureOptions(tts_voice="nonesuch"))
    with pytest.raises(KDError, match="u0.*--tts_voice"):
        synthesiser.say([Item(make_label())], [1.0])


def test_speech_of_another_synthesiser(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, chirp(), 8000)
    (tmp_path / "tts.scp").write_text(f"a {path}\n")
    measure = build_measure("mcd", MeasureOptions(tts_wav_scp=tmp_path / "tts.scp"))
    found = measure.score([Item(make_label(name), Waves(chirp())) for name in "ab"])
    assert found[0].value > 0
    assert found[1].note == "the synthesiser cannot say the label"
    with pytest.raises(DataDirError, match="no such file"):
        build_measure("mcd", MeasureOptions(tts_wav_scp=tmp_path / "gone"))


def test_what_cannot_be_compared():
    measure = build_measure("mcd", MeasureOptions())
    silent = np.zeros(RATE, np.float32)
    found = measure.score(
        [Item(make_label(text=" "), Waves(chirp())), Item(make_label(), Waves(silent))]
    )
    assert [score.note for score in found] == ["empty label", "silent audio"]


@pytest.fixture
def pesq(monkeypatch):
    """The package's interface."""

    class PesqError(RuntimeError):
        pass

    def score(rate, reference, degraded, mode):
        assert (rate, mode, len(reference)) == (RATE, "wb", len(degraded))
        if not degraded.any():
            raise PesqError("No utterances detected")
        return 1.5

    monkeypatch.setitem(sys.modules, "pesq", SimpleNamespace(pesq=score, PesqError=PesqError))


def test_pesq(pesq):
    measure = build_measure("pesq", MeasureOptions(language="en"))
    (score,) = measure.score([Item(make_label(), Waves(chirp()))])
    assert score.value == 1.5
    assert isinstance(measure, PESQ)
    assert measure._compare(chirp(), np.zeros(10, np.float32)).note.startswith("pesq: No utter")


def test_pesq_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(MissingDependencyError, match=r"uv pip install pesq.*mcd"):
        build_measure("pesq", MeasureOptions())


def test_pesq_of_the_package():
    pytest.importorskip("pesq")
    measure = build_measure("pesq", MeasureOptions(language="en"))
    (score,) = measure.score([Item(make_label(), Waves(chirp()))])
    assert score.value is not None or score.note.startswith("pesq:")
