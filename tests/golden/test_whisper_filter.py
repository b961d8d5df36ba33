"""Decisions of the published WER filters, UBC's Arabic scores, the published metrics, AUC."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from golden_cases import golden_root, params

from espnet_kd.errors import MissingDependencyError, WhisperError
from espnet_kd.evaluation.auc import make_ranking
from espnet_kd.evaluation.transcripts import TranscriptScores, score_transcripts
from espnet_kd.whisper.normalisers import (
    Normaliser,
    arabic,
    english,
    published_normaliser,
    spelling_of,
)
from espnet_kd.whisper.tokenizer import build_tokenizer
from espnet_kd.whisper.wer_filter import WERFilter, word_error_percent

pytestmark = pytest.mark.golden

SYSTEM = "whisper"
RULES = ("upstream", "fork")


def _read(name: str) -> Any:
    path = golden_root() / SYSTEM / name
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def _cases(name: str) -> list[Any]:
    return params(SYSTEM, ((f"{name}-{i}", (case,)) for i, case in enumerate(_read(name))))


def _misc(key: str) -> Any:
    found = dict(_read("misc.json"))
    if key not in found:
        pytest.skip(f"no golden {SYSTEM}/misc.json with {key}: set ESPNET_KD_GOLDEN")
    return found[key]


@functools.cache
def _spelling() -> dict[str, str]:
    try:
        return spelling_of()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@functools.cache
def _tokenizer() -> Any:
    try:
        return build_tokenizer("multilingual")
    except MissingDependencyError as error:
        pytest.skip(str(error))


def _decode(ids: list[int]) -> str:
    return str(_tokenizer().decode(ids, skip_special_tokens=True))


def _published(case: dict[str, Any]) -> Normaliser:
    language = case["language"]
    return published_normaliser(language, None if language else _spelling())


@pytest.mark.parametrize("case", _cases("wer_filter.json"))
def test_normalised_strings_and_wer(case: dict[str, Any]) -> None:
    normalise = _published(case)
    for side in ("reference", "hypothesis"):
        if case[side] is not None:
            assert normalise(case[side]) == case[f"norm_{side}"]
    assert case["normaliser"] == ("english" if case["language"] is None else "basic")
    if case["wer_percent"] is not None:
        wer = word_error_percent(case["norm_reference"], case["norm_hypothesis"])
        assert wer == pytest.approx(case["wer_percent"], abs=1e-9)
        return
    # The reference's error: a side is missing, or no word is there to divide by.
    if case["wer_error"] == "ZeroDivisionError":
        assert not case["norm_reference"].split()
    else:
        assert None in (case["reference"], case["hypothesis"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", _cases("wer_filter.json"))
def test_decisions(case: dict[str, Any], rule: Any) -> None:
    judge = WERFilter(_published(case), rule, _decode)
    for threshold, expected in case[rule].items():
        if isinstance(expected, str):  # the published code ends here
            with pytest.raises(WhisperError):
                judge.keeps(case["reference"], case["hypothesis"], float(threshold))
        else:
            kept = judge.keeps(case["reference"], case["hypothesis"], float(threshold))
            assert kept is expected, threshold


def test_arabic_normaliser() -> None:
    for text, expected in _misc("arabic_preprocess"):
        assert arabic(text) == expected


def test_arabic_corpus_scores() -> None:
    golden = _misc("arabic_corpus_score")
    # The pairs do not say which side is the reference.
    found = [
        {name: _scores(golden["pairs"], arabic, side).metrics()[name] for name in golden["metrics"]}
        for side in (0, 1)
    ]
    assert golden["metrics"] in found


def test_metrics_of_the_published_trainer() -> None:
    golden = _misc("eval_metrics_english")
    scores = _scores(golden["pairs_pred_ref"], english(_spelling()), 1)
    assert scores.normalised.error_rate == pytest.approx(golden["wer"])
    assert scores.raw.error_rate == pytest.approx(golden["wer_ortho"])
    assert len(golden["pairs_pred_ref"]) - scores.empty_references == golden["kept"]


def test_auc() -> None:
    golden = _misc("auc")
    wer = {str(i): value for i, value in enumerate(golden["wer_percent"])}
    quality = {str(i): v for i, v in enumerate(golden["quality_score_higher_is_better"])}
    good = make_ranking("quality", wer, quality, higher_is_better=True)
    negated = {key: -value for key, value in quality.items()}
    bad = make_ranking("badness", wer, negated, higher_is_better=False)
    for threshold, expected in golden["auc_good_at_threshold"].items():
        assert good.auc(float(threshold)) == pytest.approx(expected, abs=1e-9)
        assert bad.auc(float(threshold)) == pytest.approx(expected, abs=1e-9)


def _scores(pairs: list[list[str]], normalise: Normaliser, reference: int) -> TranscriptScores:
    texts = [{str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1)]
    return score_transcripts(texts[reference], texts[1 - reference], normalise)
