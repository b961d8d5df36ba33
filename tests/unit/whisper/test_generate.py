"""Decoding equals transformers' own single pass; scores equal those of a pass over the label."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from espnet_kd.errors import WhisperError
from espnet_kd.whisper.generate import TransformersBackend, hypothesis_of
from espnet_kd.whisper.hypothesis import DecodingOptions
from espnet_kd.whisper.timestamp_rules import TimestampRules
from tests.unit.whisper.decoded import babbling, noises, rescored, stopping

LENGTH = 24


@pytest.fixture(scope="module")
def bundle():
    """Two layers, 1 s of context."""
    return babbling()


@pytest.fixture(scope="module")
def features(bundle):
    """Log-mel features (B, M, F) of three noises."""
    return noises(bundle)


def decode(bundle, features, prefix, **options):
    backend = TransformersBackend.of(bundle, DecodingOptions(max_label_length=LENGTH, **options))
    return backend.generate(backend.encode(features), [prefix] * len(features))


def reference(bundle, features, *, timestamps, beams):
    """Whisper's ``generate`` in the form that the published command was written for."""
    return bundle.model.generate(
        features,
        language="hi",
        task="transcribe",
        return_timestamps=timestamps,
        num_beams=beams,
        max_length=LENGTH,
        force_unique_generate_call=True,
    )


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_labels_are_those_of_one_generate_call(bundle, features, timestamps, beams):
    prefix = bundle.specials.prefix("hi", "transcribe", timestamps)
    found = decode(bundle, features, prefix, num_beams=beams, return_timestamps=timestamps)
    for hypothesis, expected in zip(
        found, reference(bundle, features, timestamps=timestamps, beams=beams).tolist(), strict=True
    ):
        end = bundle.specials.end
        while expected[-1] == end:
            expected.pop()
        assert [*hypothesis.prefix, *hypothesis.tokens] == expected
        if timestamps:
            assert hypothesis.tokens[0] >= bundle.specials.timestamp_begin


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_those_of_a_pass_over_the_label(bundle, features, timestamps, beams):
    prefix = bundle.specials.prefix("hi", "transcribe", timestamps)
    found = decode(bundle, features, prefix, num_beams=beams, return_timestamps=timestamps)
    for number, hypothesis in enumerate(found):
        own = features[number : number + 1]
        logprobs, entropies = rescored(bundle, own, hypothesis, timestamps=timestamps)
        assert hypothesis.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert hypothesis.entropies == pytest.approx(entropies, abs=1e-4)
        assert hypothesis.avg_logprob == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)
        assert hypothesis.mean_entropy == pytest.approx(sum(entropies) / len(entropies), abs=1e-4)


def test_a_batch_gives_what_its_rows_give_alone(bundle, features):
    prefix = bundle.specials.prefix("en")
    together = decode(bundle, features, prefix)
    alone = [decode(bundle, features[n : n + 1], prefix)[0] for n in range(len(features))]
    assert [h.tokens for h in together] == [h.tokens for h in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_rows_may_have_languages_of_their_own(bundle, features):
    specials = bundle.specials
    backend = TransformersBackend.of(bundle, DecodingOptions(max_label_length=LENGTH))
    encoded = backend.encode(features)
    prefixes = [specials.prefix(code) for code in ("en", "hi", "ar")]
    mixed = backend.generate(encoded, prefixes)
    assert [list(h.prefix) for h in mixed] == prefixes
    hindi = backend.generate(encoded, [prefixes[1]] * 3)
    assert mixed[1].tokens == hindi[1].tokens


def test_half_precision_decodes(features):
    """Scores are computed in float32 whatever the model's type is."""
    bundle = babbling()
    bundle.model.to(torch.bfloat16)
    for hypothesis in decode(bundle, features, bundle.specials.prefix("en")):
        assert len(hypothesis.tokens) == LENGTH - 4
        assert all(logprob < 0 for logprob in hypothesis.logprobs)
        assert all(entropy > 0 for entropy in hypothesis.entropies)


def test_language_is_the_one_that_transformers_detects(bundle, features):
    backend = TransformersBackend.of(bundle, DecodingOptions())
    expected = bundle.model.detect_language(features, num_segment_frames=100)
    assert backend.detect_languages(backend.encode(features)) == expected.tolist()


def test_the_cap_includes_the_prefix_and_is_noticed(bundle, features):
    prefix = bundle.specials.prefix("en")
    for hypothesis in decode(bundle, features, prefix):
        assert not hypothesis.finished  # a random model does not stop
        assert len(hypothesis.prefix) + len(hypothesis.tokens) == LENGTH
        assert hypothesis.label(bundle.specials.end)[-1] != bundle.specials.end


def test_finished_labels_end_once():
    found = hypothesis_of([1, 2], [7, 8, 0, 0, 0], 0, [-1.0, -2.0, -3.0, -9, -9], [1, 2, 3, 9, 9])
    assert found.finished
    assert found.tokens == (7, 8)
    assert found.label(0) == [1, 2, 7, 8, 0]
    assert found.avg_logprob == pytest.approx(-2.0)
    assert found.mean_entropy == pytest.approx(2.0)


def test_a_model_that_stops_gives_finished_labels(features):
    bundle = stopping()
    for hypothesis in decode(bundle, features, bundle.specials.prefix("en")):
        assert hypothesis.finished
        assert len(hypothesis.tokens) == 1  # the end token is suppressed at the beginning
        assert len(hypothesis.logprobs) == 2


def test_prefixes_must_fit(bundle, features):
    backend = TransformersBackend.of(bundle, DecodingOptions(max_label_length=5))
    encoded = backend.encode(features)
    with pytest.raises(WhisperError, match="3 segment.*as many prefixes of one length"):
        backend.generate(encoded, [[1, 2, 3]])
    with pytest.raises(WhisperError, match="not 3 of \\[2, 3\\]"):
        backend.generate(encoded, [[1, 2, 3], [1, 2], [1, 2, 3]])
    with pytest.raises(WhisperError, match="max_label_length 5 leaves no room"):
        backend.generate(encoded, [[1, 2, 3, 4]] * 3)


def test_options_are_checked():
    assert DecodingOptions().validate(448) == []
    assert len(DecodingOptions(max_label_length=449, num_beams=0).validate(448)) == 2
    assert DecodingOptions(max_label_length=5).validate(448)


@pytest.mark.parametrize("latest", [None, 3])
def test_timestamp_rules_are_those_of_transformers(latest):
    """Over random histories of a small vocabulary: text 0-9, end 10, 11-13, 14, times from 15."""
    end, begin, vocabulary, prefix = 10, 15, 30, 2
    config = GenerationConfig(eos_token_id=end, no_timestamps_token_id=begin - 1)
    config.max_initial_timestamp_index = latest
    theirs = WhisperTimeStampLogitsProcessor(config, begin_index=prefix)
    ours = TimestampRules(
        begin_index=prefix, end=end, timestamp_begin=begin, max_initial_timestamp=latest
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        ids = torch.zeros(6, prefix, dtype=torch.long)
        for _ in range(8):
            scores = 3 * torch.randn(6, vocabulary, generator=generator)
            kept = scores.clone()
            processed = ours(ids, scores)
            torch.testing.assert_close(processed, theirs(ids, scores), rtol=0, atol=0)
            assert torch.equal(scores, kept)
            ids = torch.cat([ids, processed.argmax(dim=-1, keepdim=True)], dim=1)
