"""Token sequences, collated labels, tokenizer and log-mel features against the reference's."""

from __future__ import annotations

from typing import Any

import golden_whisper as golden
import pytest
import torch
from transformers import WhisperFeatureExtractor

from espnet_kd.errors import MissingDependencyError
from espnet_kd.whisper.collate import IGNORE_INDEX, collate_tokens
from espnet_kd.whisper.features import log_mel
from espnet_kd.whisper.labels import (
    LabelOptions,
    audio_in_range,
    encode_label,
    encode_text,
    prepare_batch,
)
from espnet_kd.whisper.specials import SpecialIds
from espnet_kd.whisper.tokenizer import build_tokenizer

pytestmark = golden.marks


@pytest.fixture(scope="module")
def tokenizers() -> dict[bool, Any]:
    """By whether they are multilingual."""
    try:
        return {True: build_tokenizer("multilingual"), False: build_tokenizer("english")}
    except MissingDependencyError as error:
        pytest.skip(str(error))


def _prepare(case: dict[str, Any], tokenizer: Any, ids: SpecialIds) -> tuple[list[Any], list[Any]]:
    """Prepared labels, and the tosses (probability, result) that were made."""
    tosses, script = [], iter(case["draws"])

    def draw(probability: float) -> bool:
        result = next(script)
        tosses.append([probability, result])
        return bool(result)

    if case.get("use_pseudo_labels", True):
        labels = [encode_label(text, tokenizer) for text in case["texts"]]
    else:
        labels = [encode_text(t, tokenizer, ids, language=case["language"]) for t in case["texts"]]
    options = LabelOptions(max_label_length=case["max_label_length"], compat=True)
    return prepare_batch(labels, case.get("condition_on_prev"), draw, ids, options), tosses


def test_token_sequences(tokenizers: dict[bool, Any]) -> None:
    cases = golden.document("data_prep")
    assert cases
    for case in cases:
        tokenizer = tokenizers[case["multilingual"]]
        prepared, tosses = _prepare(case, tokenizer, SpecialIds.of(tokenizer))
        assert [label.token_ids for label in prepared] == case["token_sequences"], case["name"]
        assert [label.kept for label in prepared] == case["kept_by_label_length"], case["name"]
        assert tosses == case["draws_used"], case["name"]


def test_collated_labels(tokenizers: dict[bool, Any]) -> None:
    compared = 0
    for case in golden.document("data_prep"):
        ids = SpecialIds.of(tokenizers[case["multilingual"]])
        for sequence, expected in zip(case["token_sequences"], case["collated"], strict=True):
            if expected is None:
                continue
            batch = collate_tokens([sequence], ids, pad_to=case["max_label_length"])
            labels, inputs = batch["labels"][0].tolist(), batch["decoder_input_ids"][0].tolist()
            length = len(sequence) - 1
            assert labels[:length] == expected["labels"], case["name"]
            assert inputs[:length] == expected["decoder_input_ids"], case["name"]
            assert len(labels) == len(inputs) == expected["padded_length"]
            assert set(labels[length:]) <= {IGNORE_INDEX}
            assert expected["tail_labels_all_ignored"]
            assert sorted(set(inputs[length:])) == expected["tail_decoder_pad"]
            compared += 1
    assert compared


def test_tokenizer(tokenizers: dict[bool, Any]) -> None:
    cases = golden.document("misc")["tokenizer"]
    assert cases
    for case in cases:
        for multilingual, name in ((True, "multilingual"), (False, "english")):
            assert encode_label(case["text"], tokenizers[multilingual]) == case[name], case["text"]


def test_special_ids(tokenizers: dict[bool, Any]) -> None:
    for name, expected in golden.document("misc")["special_ids"].items():
        tokenizer = tokenizers[name == "multilingual"]
        ids = SpecialIds.of(tokenizer)
        found = {token: tokenizer.convert_tokens_to_ids(token) for token in expected}
        assert found == expected
        assert ids.is_multilingual == (name == "multilingual")
        ours = {ids.start, ids.end, ids.translate, ids.transcribe, ids.startofprev, ids.nospeech,
                ids.notimestamps, ids.timestamp_begin, *ids.languages.values()}  # fmt: skip
        known = {token: i for token, i in expected.items() if i <= ids.timestamp_begin}
        assert set(known.values()) - ours <= {known.get("<|startoflm|>")}


def test_audio_lengths() -> None:
    document = golden.document("misc")["audio_length_filter"]
    limits = {"min_seconds": document["min_s"], "max_seconds": document["max_s"]}
    assert document["cases"]
    for samples, kept in document["cases"]:
        assert audio_in_range(samples, **limits, compat=True) == kept
        ours = audio_in_range(samples, **limits)
        assert ours == (kept or samples == 16000 * document["max_s"])


def test_log_mel() -> None:
    """For each ``<kind>_shape`` there are the first frames and the last one."""
    stored = golden.arrays("logmel")
    kinds = [key.removesuffix("_shape") for key in stored if key.endswith("_shape")]
    assert kinds
    for kind in kinds:
        bins, frames = stored[f"{kind}_shape"].tolist()
        extractor = WhisperFeatureExtractor(feature_size=bins)
        (found,) = log_mel(extractor, [stored["waveform"].numpy()])
        assert found.shape == (bins, frames)
        (first,) = (value for key, value in stored.items() if key.startswith(f"{kind}_first"))
        torch.testing.assert_close(found[:, : first.shape[1]], first, atol=1e-5, rtol=0)
        torch.testing.assert_close(found[:, -1], stored[f"{kind}_last"], atol=1e-5, rtol=0)
