"""Word error rates of what a student writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from espnet_kd.errors import DataDirError
from espnet_kd.tasks.whisper_labels import Spoken
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_validation import Transcript, Validation
from espnet_kd.whisper.generate import TransformersBackend
from espnet_kd.whisper.hypothesis import DecodingOptions
from espnet_kd.whisper.label_text import plain_text
from tests.unit.tasks.whisper_corpus import tiny_teacher


def validation(**conf: object) -> Validation:
    return Validation(tiny_teacher(), WhisperDistillConfig.from_dict(conf))


def said(
    name: str, reference: str, prediction: str, dataset: str = "dev", language: str | None = "en"
) -> Transcript:
    return Transcript(name, dataset, language, reference, prediction)


def test_rates_are_of_the_corpus_without_empty_references() -> None:
    """Golden misc: the published metrics of these four pairs are 50 and 75 %."""
    found = validation()
    found.transcripts = [
        said("1", "hello, there", "Hello there"),
        said("2", "...", "good bye"),
        said("3", "9", "nine"),
        said("4", "a b d e", "a b c"),
    ]
    rates = found.finish()
    assert rates == {"wer": 50.0, "wer_ortho": 75.0}
    found.transcripts.append(said("5", "[noise]", "one two"))
    rates = found.finish()  # nothing is left of the reference: only wer_ortho counts it
    assert rates == {"wer": 50.0, "wer_ortho": pytest.approx(100 * 8 / 9)}


def test_several_sets_count_by_their_utterances(tmp_path: Path) -> None:
    found = validation()
    found.start_run(tmp_path)
    found.epoch = 3
    found.transcripts = [
        said("1", "red blue", "red blue"),
        said("2", "red blue", "red"),
        said("3", "a green tree", "a green tree", dataset="test"),
    ]
    rates = found.finish()
    assert rates == {
        "wer": pytest.approx(100 * (0.25 * 2 + 0) / 3),
        "wer_ortho": pytest.approx(100 * (0.25 * 2 + 0) / 3),
        "wer_dev": 25.0, "wer_ortho_dev": 25.0, "wer_test": 0.0, "wer_ortho_test": 0.0,
    }  # fmt: skip
    lines = (tmp_path / "validation" / "3epoch.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1", "2", "3"]
    found.start()
    assert found.finish() == {}


def test_each_language_has_its_normaliser() -> None:
    found = validation()
    found.transcripts = [
        said("1", "我们去", "我们来", language="zh"),
        said("2", "नमस्ते दुनिया", "नमस्ते, दुनिया", language="hi"),
    ]
    # One of three letters and none of two words.
    assert found.finish()["wer"] == pytest.approx(100 / 5)


def test_references_without_a_word() -> None:
    found = validation()
    found.transcripts = [said("1", "[noise]", "one")]
    with pytest.raises(DataDirError, match="no reference has a word"):
        found.finish()


def test_references_are_looked_at_before_training() -> None:
    english, chinese = (
        tiny_teacher().specials.prefix(language, "transcribe") for language in ("en", "zh")
    )
    found, empty = validation(), Spoken(english, None, "[noise]")
    found.check_references("dev", [empty, Spoken(chinese, None, "我们"), empty])
    with pytest.raises(DataDirError, match="validation set dev: no reference has a word"):
        found.check_references("dev", [empty, empty])


@pytest.mark.parametrize("stamped", [False, True])
def test_decoding_begins_with_the_prefix_of_the_labels(stamped: bool) -> None:
    bundle = tiny_teacher()
    found = validation(return_timestamps=stamped, generation_max_length=12)
    ids = bundle.specials
    rows = [[*ids.prefix(language, "transcribe"), 7, 8] for language in ("en", "hi")]
    states = torch.randn(2, 50, 32, generator=torch.Generator().manual_seed(0))
    found.transcribe(["a", "b"], states, torch.tensor(rows), ["x", "y"], ["dev", "dev"])
    options = DecodingOptions(max_label_length=12, return_timestamps=stamped)
    prefixes = [ids.prefix(language, "transcribe", stamped) for language in ("en", "hi")]
    expected = TransformersBackend.of(bundle, options).generate(states, prefixes)
    assert [t.prediction for t in found.transcripts] == [
        plain_text(h.tokens, bundle.tokenizer, ids) for h in expected
    ]
    assert [(t.id, t.language, t.reference) for t in found.transcripts] == [
        ("a", "en", "x"), ("b", "hi", "y"),
    ]  # fmt: skip
