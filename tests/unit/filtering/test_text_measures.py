"""Measures of texts and of what labelling left behind."""

from __future__ import annotations

import math

import pytest

from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.filtering import MEASURES, MeasureOptions, build_measure
from tests.unit.filtering.made_up import items, make_label


def value(name: str, label, **options):
    (score,) = build_measure(name, MeasureOptions(normaliser="basic", **options)).score(
        items(label)
    )
    return score


def test_every_measure_says_what_it_is():
    assert set(MEASURES) == {
        "wer", "proxy", "conf", "entropy", "nnll", "sonar", "pesq", "mcd", "compression",
        "repetition", "agreement",
    }  # fmt: skip
    better_when_higher = {name for name, cls in MEASURES.items() if cls.higher_is_better}
    assert better_when_higher == {"conf", "sonar", "pesq", "agreement"}
    assert all(cls.about for cls in MEASURES.values())


def test_unknown_measure():
    with pytest.raises(ConfigError, match="'wre' is unknown; choose wer, proxy"):
        build_measure("wre", MeasureOptions())


@pytest.mark.parametrize(
    ("name", "option"),
    [("proxy", "--proxy_text or --proxy_model"), ("nnll", "--lm"), ("agreement", "--student")],
)
def test_measures_say_what_they_need(name, option):
    with pytest.raises(ConfigError, match=f"needs {option}"):
        build_measure(name, MeasureOptions())


def test_confidence_and_entropy():
    label = make_label(avg_logprob=-1.0, mean_entropy=0.25)
    assert value("conf", label).value == pytest.approx(math.exp(-1))
    assert value("entropy", label).value == 0.25
    label = make_label(avg_logprob=None, mean_entropy=None)
    assert value("conf", label) == (None, "label without avg_logprob")
    assert value("entropy", label) == (None, "label without mean_entropy")


def test_loops_score_worse():
    plain, loop = make_label(text="one two three four"), make_label(text="one two " * 20)
    for name in ("compression", "repetition"):
        assert value(name, plain).value < value(name, loop).value


def test_true_wer_follows_its_rule():
    label = make_label(text="نعم", reference="نعم", language="ar")
    assert value("wer", label).value == 0.0
    shouted = make_label(text="YES", whisper_transcript="YES", reference="yes")
    assert value("wer", shouted).note == "label all in upper case"
    assert value("wer", shouted, wer_rule="fork").value == 0.0
    assert value("wer", make_label()).note == "no reference"


def test_published_rule_takes_the_published_normaliser():
    label = make_label(text="It's", whisper_transcript="<|en|> It's", reference="its")
    measure = build_measure("wer", MeasureOptions(wer_rule="upstream", language="en"))
    (score,) = measure.score(items(label))
    assert score.value == 200.0  # "it s" against "its"
    assert measure.signature()["normaliser"] == "published"


def test_ids_need_a_tokenizer():
    label = make_label(whisper_transcript=[1, 2], reference="x")
    with pytest.raises(ConfigError, match="--tokenizer"):
        value("wer", label, wer_rule="fork")
    assert value("wer", label).value == 200.0  # the rule `fixed` has the text


def test_unknown_normaliser_and_rule():
    with pytest.raises(ConfigError, match="'x' is unknown; choose auto"):
        build_measure("wer", MeasureOptions(normaliser="x"))
    with pytest.raises(ConfigError, match="'y' is unknown; choose fixed"):
        build_measure("wer", MeasureOptions(wer_rule="y"))


def test_proxy_of_a_text_file(tmp_path):
    text = tmp_path / "text"
    text.write_text("a one three\nb\n", encoding="utf-8")
    measure = build_measure("proxy", MeasureOptions(proxy_text=text, normaliser="basic"))
    found = measure.score(items(*(make_label(name, "One, two!") for name in "abc")))
    assert found[0].value == 50.0
    assert found[1].value == 200.0  # the other system heard nothing
    assert found[2] == (None, "no text of the second system")
    before = measure.signature()
    text.write_text("a one two\n", encoding="utf-8")
    assert build_measure("proxy", measure.options).signature() != before


def test_proxy_is_one_thing(tmp_path):
    options = MeasureOptions(proxy_text=tmp_path / "text", proxy_model="m")
    with pytest.raises(ConfigError, match="not both"):
        build_measure("proxy", options)
    with pytest.raises(DataDirError, match="cannot read"):
        build_measure("proxy", MeasureOptions(proxy_text=tmp_path / "gone")).score(
            items(make_label())
        )


def test_languages_have_their_own_normaliser():
    measure = build_measure("wer", MeasureOptions())
    arabic = make_label("a", "إسلام", reference="اسلام", language="ar")
    french = make_label("f", "Été", reference="été !", language="fr")
    assert [score.value for score in measure.score(items(arabic, french))] == [0.0, 0.0]
