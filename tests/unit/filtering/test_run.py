"""A filter run from folders to folders."""

from __future__ import annotations

import json

import pytest

from espnet_kd.bin import whisper_filter
from espnet_kd.data.label_folder import read_label_folder
from espnet_kd.errors import ConfigError, DataDirError
from espnet_kd.filtering import Limit, MeasureOptions
from espnet_kd.filtering.measure import Measure
from espnet_kd.filtering.run import FilterPlan, apply_limits, score_folders, select
from espnet_kd.filtering.scoring import score_all
from espnet_kd.filtering.token_scores import Confidence
from espnet_kd.whisper.wer_filter import Score
from tests.unit.filtering.made_up import items, label_folder, make_label

LABELS = [
    make_label("a", "one two", reference="one two", avg_logprob=-0.1),
    make_label("b", "one", reference="one two", avg_logprob=-1.0, condition_on_prev=1,
               prompt_ids=[1]),
    make_label("c", "four", reference="one two", avg_logprob=-2.0, condition_on_prev=1,
               prompt_ids=[2]),
    make_label("d", "", reference="x", avg_logprob=-0.1),
    make_label("e", "three", condition_on_prev=1, prompt_ids=[3], avg_logprob=-0.3),
]  # fmt: skip
BASIC = MeasureOptions(normaliser="basic")


@pytest.fixture
def folder(tmp_path):
    return label_folder(tmp_path / "labels", LABELS)


def plan(*limits: Limit, **changes) -> FilterPlan:
    return FilterPlan(limits=limits, options=BASIC, **changes)


def run(*words: object) -> int:
    return whisper_filter.main([str(word) for word in words])


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_command(folder, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--labels", folder, "--out", out, "--normaliser", "basic", "--threshold", "wer=80",
                 "--measures", "conf")  # fmt: skip
    assert run(*arguments) == 0
    decisions = {record["id"]: record for record in lines(out / "decisions.jsonl")}
    assert {key: record["kept"] for key, record in decisions.items()} == {
        "a": True, "b": True, "c": False, "d": False, "e": False,
    }  # fmt: skip
    assert decisions["a"]["reason"] == "wer 0 < 80"
    assert decisions["c"]["reason"] == "wer 100 >= 80"
    assert decisions["d"]["reason"] == "empty label"
    assert decisions["e"]["reason"] == "wer: no reference"
    assert decisions["c"]["scores"] == {"wer": 100.0, "conf": pytest.approx(0.1353, abs=1e-4)}
    kept, dropped = read_label_folder(out / "kept"), read_label_folder(out / "dropped")
    assert [label.id for label in kept.labels] == ["a", "b"]
    assert [label.id for label in dropped.labels] == ["c", "d", "e"]
    assert kept.data is not None
    assert set(kept.data.wav_scp) == set(kept.data.utt2spk) == {"a", "b"}
    assert "kept" in capsys.readouterr().out


def test_totals_add_up(folder, tmp_path):
    scored = score_folders([folder], tmp_path, plan(Limit("wer", 80), Limit("conf", 0.5)))
    decisions, summary = apply_limits(scored, plan(Limit("wer", 80), Limit("conf", 0.5)))
    assert summary["total"] == summary["kept"] + summary["dropped"] == len(LABELS)
    assert summary["dropped"] == summary["by_check"] + summary["by_limits"]
    assert summary["checks"] == {"empty label": 1}
    wer, conf = summary["limits"]
    assert (wer["failed"], wer["only"]) == (2, 1)  # c and e; e alone
    assert (conf["failed"], conf["only"]) == (2, 1)  # b and c; b alone
    assert summary["kept"] == sum(decision.kept for decision in decisions) == 1
    assert summary["kept_hours"] == pytest.approx(1 / 3600)
    assert summary["measures"]["wer"]["notes"] == {"empty label": 1, "no reference": 1}


def test_no_limit_keeps_what_passes_the_checks(folder, tmp_path):
    scored = score_folders([folder], tmp_path, plan())
    _, summary = apply_limits(scored, plan())
    assert summary["kept"] == 4


def test_a_label_is_prompted_only_by_a_neighbour_that_is_kept():
    chosen = {label.id: label for label in select(LABELS, [True, True, True, False, True])}
    assert (chosen["b"].condition_on_prev, chosen["b"].prompt_ids) == (1, [1])
    assert (chosen["e"].condition_on_prev, chosen["e"].prompt_ids) == (0, None)
    assert select(LABELS, [False, True, False, False, False])[0].condition_on_prev == 0


def test_nothing_kept_is_an_error_that_leaves_the_decisions(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--labels", folder, "--out", out, "--threshold", "conf=1") == 1
    assert "no label is kept" in capsys.readouterr().err
    assert len(lines(out / "decisions.jsonl")) == len(LABELS)
    assert not (out / "kept").exists()


def test_everything_kept_leaves_an_empty_folder_of_the_dropped(tmp_path):
    folder = label_folder(tmp_path / "labels", LABELS[:1])
    assert run("--labels", folder, "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "dropped" / "labels.jsonl").read_text() == ""


def test_a_second_run_replaces_the_first(folder, tmp_path):
    out = tmp_path / "out"
    run("--labels", folder, "--out", out, "--threshold", "conf=0.8")
    assert run("--labels", folder, "--out", out, "--threshold", "conf=0.2") == 0
    assert len(read_label_folder(out / "kept").labels) == 3


def test_several_folders(tmp_path):
    first = label_folder(tmp_path / "first", LABELS[:2])
    second = label_folder(tmp_path / "second", LABELS[2:])
    scored = score_folders([first, second], tmp_path / "out", plan())
    assert [item.label.id for item in scored.items] == list("abcde")
    assert len(scored.items[4].wave()) == 16000
    with pytest.raises(DataDirError, match="utterance a is in .*first and in .*first"):
        score_folders([first, first], tmp_path / "out", plan())


class Counted(Confidence):
    """A measure that is interrupted after some batches."""

    calls = 0
    stop_after = 99

    def score(self, items):
        type(self).calls += 1
        if self.calls > self.stop_after:
            raise KeyboardInterrupt
        return super().score(items)


def test_scores_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Counted, "calls", 0)
    monkeypatch.setattr(Counted, "stop_after", 1)
    labels = items(*LABELS)
    with pytest.raises(KeyboardInterrupt):
        score_all(Counted(), labels, tmp_path, batch_size=2)
    with (tmp_path / "conf.jsonl").open("a") as stream:
        stream.write('{"id": "c", "sc')  # the line that the kill tore
    monkeypatch.setattr(Counted, "stop_after", 99)
    found = score_all(Counted(), labels, tmp_path, batch_size=2)
    assert Counted.calls == 4  # one batch, the interrupted one, and the two that were left
    assert found == score_all(Counted(), labels, tmp_path, batch_size=2)
    assert Counted.calls == 4
    assert list(found) == list("abcde")


def test_a_changed_label_is_scored_again(tmp_path):
    score_all(Confidence(), items(*LABELS), tmp_path)
    changed = make_label("a", "one two", reference="one two", avg_logprob=-3.0)
    found = score_all(Confidence(), items(changed), tmp_path)
    assert found["a"].value == pytest.approx(0.0498, abs=1e-4)


@pytest.mark.parametrize("change", [{"duration": 2.0}, {"language": "fr"}, {"token_ids": [1]}])
def test_what_a_score_may_depend_on_is_looked_at(tmp_path, monkeypatch, change):
    monkeypatch.setattr(Counted, "stop_after", 99)
    for number, label in enumerate((make_label(), make_label(), make_label(**change))):
        monkeypatch.setattr(Counted, "calls", 0)
        score_all(Counted(), items(label), tmp_path)
        assert Counted.calls == (0 if number == 1 else 1)


def test_other_settings_are_other_scores(folder, tmp_path):
    text = tmp_path / "text"
    limit = Limit("proxy", 50)
    for said, expected in (("one two", 0.0), ("three four", 100.0)):
        text.write_text(f"a {said}\n")
        told = FilterPlan((limit,), options=MeasureOptions(proxy_text=text, normaliser="basic"))
        assert score_folders([folder], tmp_path, told).scores["proxy"]["a"].value == expected


class Broken(Measure):
    name = "broken"
    higher_is_better = True
    about = "nothing"

    @classmethod
    def from_options(cls, options):
        return cls()

    def score(self, items):
        return [Score(float("nan")) for _ in items]


def test_a_score_that_is_no_number_is_none(tmp_path):
    found = score_all(Broken(), items(LABELS[0]), tmp_path)
    assert found["a"] == (None, "the score is nan")


def test_evaluation(folder, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--labels", folder, "--out", out, "--normaliser", "basic", "--evaluate")
    assert run(*arguments, "--measures", "conf", "compression") == 0
    records = {record["measure"]: record for record in json.loads((out / "auc.json").read_text())}
    assert records["conf"]["utterances"] == 3
    assert records["conf"]["auc"]["20"] == 1.0  # a is good and the most probable
    assert "| conf | 3 | 1.000 |" in (out / "auc.md").read_text()
    assert (out / "auc.png").is_file()
    assert "2 of 5 labels have no true WER" in capsys.readouterr().out
    assert not (out / "kept").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "conf"], "--threshold 'conf' is not MEASURE=NUMBER"),
        (["--threshold", "conf=a", "--quantile", "wer=b"], "2 problem"),
        (["--threshold", "wre=3", "nnll=2"], "2 problem"),
        (["--threshold", "conf=0.5", "--quantile", "conf=0.5"], "one measure has two limits"),
        (["--quantile", "conf=2"], "2 is no share"),
        (["--evaluate"], "--evaluate needs --measures"),
        (["--language", "klingon"], "'klingon' is none of Whisper's"),
    ],
)
def test_bad_commands(folder, tmp_path, capsys, words, message):
    assert run("--labels", folder, "--out", tmp_path / "out", *words) == 1
    assert message in capsys.readouterr().err


def test_unfinished_labels(tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    assert run("--labels", tmp_path / "labels", "--out", tmp_path / "out") == 1
    assert "labels.jsonl" in capsys.readouterr().err


def test_list(capsys):
    assert run("--list") == 0
    assert "conf         higher is better" in capsys.readouterr().out


def test_missing_folders():
    with pytest.raises(SystemExit):
        run("--threshold", "wer=80")


def test_all_problems_of_the_measures_at_once(folder, tmp_path):
    with pytest.raises(ConfigError) as caught:
        score_folders([folder], tmp_path, plan(Limit("nnll", 1), Limit("agreement", 1)))
    assert len(caught.value.problems) == 2


def test_a_device_that_is_not_there_is_told_before_anything_is_read(tmp_path, capsys):
    command = ("--labels", tmp_path / "none", "--out", tmp_path / "out")
    assert run(*command, "--device", "cuda:99") == 1
    assert "error: --device cuda:99, but torch sees" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out", "out/kept", "out/dropped"])
def test_labels_are_never_overwritten(tmp_path, capsys, name):
    labels = label_folder(tmp_path / name, LABELS)
    before = {path.name: path.read_bytes() for path in labels.iterdir()}
    out = tmp_path / "link"
    out.symlink_to(tmp_path / "out")
    assert run("--labels", labels, "--out", out, "--threshold", "conf=0.2") == 1
    assert f"would overwrite the labels in {labels}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in labels.iterdir()} == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threshold", "wer=nan", "--threshold 'wer=nan' is not MEASURE=NUMBER"),
        ("--quantile", "wer=nan", "--quantile 'wer=nan' is not MEASURE=NUMBER"),
        ("--threshold", "wer", "--threshold 'wer' is not MEASURE=NUMBER"),
        ("--batch_size", 0, "--batch_size is 0"),
        ("--quantile", "conf=80", "quantile conf: 80 is no share between 0 and 1"),
        ("--max_compression", "nan", "max_compression is nan; it must be at least 1, or 0"),
        ("--max_repeats", -2, "max_repeats is -2"),
    ],
)
def test_numbers_that_are_none(folder, tmp_path, capsys, option, value, message):
    assert run("--labels", folder, "--out", tmp_path / "out", option, value) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
