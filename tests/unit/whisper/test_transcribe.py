"""Transcription: one window, long forms, drafts; nothing is ever cut."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from espnet_kd.errors import ConfigError, WhisperError
from espnet_kd.whisper.draft import make_draft
from espnet_kd.whisper.transcribe import DecodeOptions, Transcriber
from espnet_kd.whisper.transcribe_chunked import transcribe_chunked
from tests.unit.whisper import tiny

RATE = 16000
SHORT = DecodeOptions(language="en", max_length=14)


def noise(seconds: float, seed: int = 0):
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (0.1 * samples).astype(np.float32)


@pytest.fixture(scope="module")
def teacher():
    return tiny.tiny_bundle(max_source_positions=100, max_target_positions=32, name="teacher")


@pytest.fixture(scope="module")
def student(teacher):
    """Another decoder under the teacher's encoder."""
    bundle = tiny.tiny_bundle(
        max_source_positions=100, max_target_positions=32, decoder_layers=1, seed=1, name="student"
    )
    encoder = teacher.model.model.encoder.state_dict()
    bundle.model.model.encoder.load_state_dict(encoder)
    return bundle


def own_loop(bundle, wave_S, prefix, length):
    """Greedy decoding in plain torch, the first token free."""
    features = bundle.feature_extractor(wave_S, sampling_rate=RATE, return_tensors="pt")
    ids = list(prefix)
    banned = torch.tensor(bundle.model.generation_config.suppress_tokens)
    with torch.inference_mode():
        while len(ids) < length and ids[-1] != bundle.specials.end:
            logits = bundle.model(
                features.input_features, decoder_input_ids=torch.tensor([ids])
            ).logits[0, -1]
            logits[banned] = -torch.inf
            ids.append(int(logits.argmax()))
    return bundle.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_greedy_text_is_that_of_a_plain_loop(teacher):
    options = DecodeOptions(language="hi", max_length=14, begin_suppress=False)
    wave_S = noise(1.5)
    (found,) = Transcriber(teacher, options).transcribe([wave_S])
    expected = own_loop(teacher, wave_S, teacher.specials.prefix("hi"), 14)
    assert found.text == expected
    assert found.seconds > 0
    assert teacher.model.generation_config.begin_suppress_tokens is not None  # put back


def test_a_batch_is_its_utterances(teacher):
    transcriber = Transcriber(teacher, SHORT)
    waves = [noise(1.0, 1), noise(2.0, 2), noise(0.3, 3)]
    together = [found.text for found in transcriber.transcribe(waves)]
    assert together == [transcriber.transcribe([wave])[0].text for wave in waves]


def test_the_language_may_be_detected(teacher):
    (found,) = Transcriber(teacher, DecodeOptions(max_length=10)).transcribe([noise(1.0)])
    assert isinstance(found.text, str)


def test_english_only():
    bundle = tiny.tiny_bundle(multilingual=False, max_source_positions=100, max_target_positions=32)
    for language in (None, "en"):
        options = DecodeOptions(language=language, max_length=10)
        assert Transcriber(bundle, options).transcribe([noise(1.0)])
    with pytest.raises(WhisperError, match="English-only"):
        Transcriber(bundle, DecodeOptions(language="hi"))
    with pytest.raises(WhisperError, match="English-only"):
        Transcriber(bundle, DecodeOptions(task="translate"))


def test_unknown_language(teacher):
    with pytest.raises(WhisperError, match="'xx' is none of this model's"):
        Transcriber(teacher, DecodeOptions(language="xx"))


def test_long_audio_is_refused_in_the_short_form(teacher):
    with pytest.raises(WhisperError, match=r"2\.50 s of audio do not fit the window of 2 s"):
        Transcriber(teacher, SHORT).transcribe([noise(2.5)])


def test_sequential_long_form_is_repeatable_and_looks_at_everything(teacher):
    options = DecodeOptions(language="en", max_length=12, temperatures=(0.0, 0.4))
    transcriber = Transcriber(teacher, options)
    waves = [noise(5.0, 4), noise(3.0, 5)]
    first = transcriber.transcribe_long(waves)
    assert [t.text for t in first] == [t.text for t in transcriber.transcribe_long(waves)]
    assert all(t.seconds > 0 for t in first)


def test_chunks_do_not_exceed_the_window(teacher):
    transcriber = Transcriber(teacher, SHORT)
    assert isinstance(transcribe_chunked(transcriber, noise(5.0), batch_size=2).text, str)
    with pytest.raises(WhisperError, match=r"chunks of 3 s do not fit the window of 2 s"):
        transcribe_chunked(transcriber, noise(5.0), chunk_seconds=3.0)


def test_a_draft_changes_nothing(teacher, student):
    options = DecodeOptions(language="en", max_length=20, begin_suppress=False)
    waves = [noise(1.0, seed) for seed in range(3)]
    plain = [t.text for t in Transcriber(teacher, options).transcribe(waves)]
    shared = make_draft(student, teacher)
    assert shared is not student.model
    assert sum(p.is_meta for p in shared.parameters()) == 0
    for draft in (shared, student.model):
        drafted = Transcriber(teacher, options, draft).transcribe(waves)
        assert [t.text for t in drafted] == plain


def test_an_encoder_of_its_own_is_kept(teacher, student):
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.model.model.encoder.layer_norm.weight.add_(0.1)
    assert make_draft(other, teacher) is other.model


def test_drafts_of_other_models_are_refused(teacher):
    english = tiny.tiny_bundle(multilingual=False, max_source_positions=150, name="english")
    with pytest.raises(WhisperError, match="english cannot draft for teacher.*vocabularies.*input"):
        make_draft(english, teacher)


def test_drafts_are_greedy_and_of_one_window(teacher, student):
    draft = make_draft(student, teacher)
    with pytest.raises(WhisperError, match="num_beams must be 1"):
        Transcriber(teacher, DecodeOptions(language="en", num_beams=2), draft)
    with pytest.raises(WhisperError, match="one window"):
        Transcriber(teacher, SHORT, draft).transcribe_long([noise(3.0)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0; it must be at least 1"),
        ({"max_length": 0}, "max_length is 0"),
        ({"temperatures": (0.0, -0.2)}, "temperatures has -0.2"),
        ({"temperatures": (float("nan"),)}, "temperatures has nan"),
        ({"temperatures": ()}, "temperatures is empty"),
        ({"logprob_threshold": float("nan")}, "logprob_threshold is nan"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        DecodeOptions(**options)


@pytest.mark.parametrize(("multilingual", "length"), [(True, 5), (False, 3)])
def test_a_length_without_room_for_text(teacher, multilingual, length):
    bundle = teacher if multilingual else tiny.tiny_bundle(multilingual=False)
    with pytest.raises(ConfigError, match=f"max_length is {length}; .* at least {length + 1}"):
        Transcriber(bundle, DecodeOptions(max_length=length))
