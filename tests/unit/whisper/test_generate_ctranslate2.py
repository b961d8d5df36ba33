"""CTranslate2 says what transformers says, from a folder that its own converter wrote."""

from __future__ import annotations

import pytest

from espnet_kd.errors import CheckpointError, KDError, MissingDependencyError
from espnet_kd.whisper import ct2
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions
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


@pytest.fixture(scope="module")
def converted(bundle, tmp_path_factory):
    """The converted folder."""
    pytest.importorskip("ctranslate2", reason="CTranslate2 (extra faster-whisper) is not installed")
    return ct2.convert_to_ctranslate2(bundle, tmp_path_factory.mktemp("ct2") / "model")


def backends(bundle, converted, **options):
    decoding = DecodingOptions(max_label_length=LENGTH, **options)
    other = ct2.CTranslate2Backend(converted, ct2.load_converted(converted), decoding, threads=1)
    return TransformersBackend.of(bundle, decoding), other


@pytest.mark.parametrize(("timestamps", "beams"), [(False, 1), (True, 1), (False, 3)])
def test_equal_text_where_decoding_is_equal(bundle, converted, features, timestamps, beams):
    """With beams and timestamps it is not: transformers does not normalise after its rules."""
    prefix = bundle.specials.prefix("hi", "transcribe", timestamps)
    options = {"return_timestamps": timestamps, "num_beams": beams}
    engines = backends(bundle, converted, **options)
    for one, other in zip(
        *(e.generate(e.encode(features), [prefix] * 3) for e in engines), strict=True
    ):
        assert other.prefix == one.prefix
        assert other.tokens == one.tokens
        assert other.finished == one.finished
        assert other.avg_logprob == pytest.approx(one.avg_logprob, abs=1e-4)
        assert other.mean_entropy is None


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_those_of_a_pass_over_the_label(bundle, converted, features, timestamps, beams):
    prefix = bundle.specials.prefix("hi", "transcribe", timestamps)
    _, engine = backends(bundle, converted, return_timestamps=timestamps, num_beams=beams)
    for number, found in enumerate(engine.generate(engine.encode(features), [prefix] * 3)):
        own = features[number : number + 1]
        logprobs, _ = rescored(bundle, own, found, timestamps=timestamps)
        assert found.avg_logprob == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_finished_labels_agree(features, tmp_path, beams):
    pytest.importorskip("ctranslate2", reason="CTranslate2 (extra faster-whisper) is not installed")
    bundle = stopping()
    folder = ct2.convert_to_ctranslate2(bundle, tmp_path / "model")
    prefix = bundle.specials.prefix("en")
    engines = backends(bundle, folder, num_beams=beams)
    for one, other in zip(
        *(e.generate(e.encode(features), [prefix] * 3) for e in engines), strict=True
    ):
        assert one.finished
        assert other.finished
        assert other.tokens == one.tokens
        assert other.avg_logprob == pytest.approx(one.avg_logprob, abs=1e-4)


def test_languages_agree(bundle, converted, features):
    found = [b.detect_languages(b.encode(features)) for b in backends(bundle, converted)]
    assert found[0] == found[1]


def test_a_good_folder_is_kept_and_another_models_is_replaced(bundle, converted):
    before = (converted / ct2.MODEL_FILE).stat().st_mtime_ns
    assert ct2.convert_to_ctranslate2(bundle, converted) == converted
    assert (converted / ct2.MODEL_FILE).stat().st_mtime_ns == before
    assert ct2.weights_digest(stopping()) != ct2.weights_digest(bundle)


def test_what_belongs_to_the_model_goes_with_it(bundle, converted):
    shell = ct2.load_converted(converted)
    assert shell.specials == bundle.specials
    assert shell.model.config.max_target_positions == bundle.model.config.max_target_positions
    assert shell.feature_extractor.n_samples == bundle.feature_extractor.n_samples
    assert shell.tokenizer.decode([1, 2, 3]) == bundle.tokenizer.decode([1, 2, 3])
    assert shell.model.generation_config.suppress_tokens


def test_files_of_others_are_not_lost(bundle, tmp_path):
    pytest.importorskip("ctranslate2", reason="CTranslate2 (extra faster-whisper) is not installed")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KDError, match=r"notes\.txt"):
        ct2.convert_to_ctranslate2(bundle, tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no model converted"):
        ct2.load_converted(tmp_path)


def test_without_the_package_it_is_named(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2", None)
    with pytest.raises(MissingDependencyError, match="uv pip install ctranslate2"):
        ct2.convert_to_ctranslate2(bundle, tmp_path / "x")
