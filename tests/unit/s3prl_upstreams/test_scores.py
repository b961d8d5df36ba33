from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace

import pytest

from s3prl_upstreams.rescore import rescore
from s3prl_upstreams.scores import ScoreBook, keep_best_dev, save_scores
from s3prl_upstreams.tasks import find_task


class Writer:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, tag, value, global_step=None):
        self.scalars.append((tag, value, global_step))


def arguments(downstream, mode, split="test"):
    return Namespace(
        downstream=downstream, mode=mode, evaluate_split=split, init_ckpt="exp/dev-best.ckpt",
        upstream="armhubert", upstream_ckpt="student",
    )  # fmt: skip


def book_of(*scalars):
    book = ScoreBook()
    writer = book.writer(Writer)()
    for step, (tag, value) in enumerate(scalars):
        writer.add_scalar(tag, value, global_step=step)
    assert writer.scalars == [(tag, value, step) for step, (tag, value) in enumerate(scalars)]
    return book


def test_training_shows_its_best_development_score():
    log = [("asr/train-wer", 3.0), *(("asr/dev-clean-wer", value) for value in (50.0, 40.0, 45.0))]
    (score,) = book_of(*log).scores(arguments("asr", "train"), find_task("asr"))
    assert (score.value, score.split, score.checkpoint) == (40.0, "dev-clean", "")
    log = [("voxceleb1/dev-acc", 0.25), ("voxceleb1/dev-acc", 0.5), ("voxceleb1/test-acc", 0.4)]
    (score,) = book_of(*log).scores(arguments("voxceleb1", "train"), find_task("sid"))
    assert (score.task, score.value, score.unit, score.direction) == ("SID", 50.0, "%", "higher")


@pytest.mark.parametrize(
    ("downstream", "tag", "line"),
    [
        ("asr", "asr/test-clean-wer", "score: ASR WER 0.12 % on test-clean"),
        ("ctc", "ctc-libriphone/test-clean-per", "score: PR PER 12.34 % on test-clean"),
        ("voxceleb1", "voxceleb1/test-clean-acc", "score: SID accuracy 12.34 % on test-clean"),
        ("emotion", "emotion-fold1/test-clean-acc", "score: ER accuracy 12.34 % on test-clean"),
        ("quesst14_dtw", "x/test-clean-mtwv", "score: QbE MTWV 0.1234 on test-clean"),
        ("mosei", "mosei/test-clean-acc", "score: mosei acc 0.1234 on test-clean"),
    ],
)
def test_an_evaluation_shows_its_split(downstream, tag, line, tmp_path):
    arguments_ = arguments(downstream, "evaluate", "test-clean")
    scores = book_of((tag, 0.1234)).scores(arguments_, find_task(downstream))
    assert scores[0].line() == f"{line} (exp/dev-best.ckpt)"
    saved = json.loads(save_scores(scores, str(tmp_path)).read_text())
    assert saved["split"] == "test-clean"
    assert saved["upstream_ckpt"] == "student"


def test_a_task_with_two_scores(tmp_path):
    book = book_of(("ctc-snips/test-slot_type_f1", 0.5), ("ctc-snips/test-slot_value_cer", 0.25))
    scores = book.scores(arguments("ctc", "evaluate"), find_task("sf"))
    assert [(score.metric, score.value) for score in scores] == [
        ("slot_type_f1", 50.0),
        ("slot_value_cer", 25.0),
    ]
    saved = json.loads(save_scores(scores, str(tmp_path)).read_text())
    assert [saved["metric"], saved["more"][0]["metric"]] == ["slot_type_f1", "slot_value_cer"]


def test_a_score_of_another_tool_counts_like_s3prls_own():
    book = book_of(("diarization/test-der", 0.9))
    book.add("diarization/test-scored-der", 10.0)
    (score,) = book.scores(arguments("diarization", "evaluate"), find_task("sd"))
    assert (score.metric, score.value) == ("DER", 10.0)


def test_diarisation_has_der_on_the_test_split_only():
    """On dev S3PRL's own accuracy counts, by which it keeps its best checkpoint."""
    log = [("diarization/dev-acc", 0.5), ("diarization/dev-der", 0.1), ("diarization/dev-acc", 0.4)]
    (score,) = book_of(*log).scores(arguments("diarization", "train"), find_task("sd"))
    assert (score.metric, score.value, score.direction) == ("frame accuracy", 50.0, "higher")

    book, asked = book_of(*log), arguments("diarization", "evaluate", "dev")
    rescore(find_task("sd"), asked, {"downstream_expert": {}}, book)
    (score,) = book.scores(asked, find_task("sd"))
    assert (score.metric, score.value, score.split) == ("frame accuracy", 40.0, "dev")


def test_the_best_development_score_of_all_parts_of_a_training_is_kept(tmp_path):
    for value, kept in ((50.0, 50.0), (40.0, 50.0), (60.0, 60.0)):
        book = book_of(("voxceleb1/dev-acc", value / 100))
        scores = book.scores(arguments("voxceleb1", "train"), find_task("sid"))
        keep_best_dev(scores, str(tmp_path), resumed=True)
        assert json.loads((tmp_path / "dev.json").read_text())["value"] == kept
    keep_best_dev([replace(scores[0], value=1.0)], str(tmp_path), resumed=False)
    assert json.loads((tmp_path / "dev.json").read_text())["value"] == 1.0, "another training"


def test_no_score_without_an_evaluation():
    assert book_of(("asr/train-wer", 1.0)).scores(arguments("asr", "train"), find_task("asr")) == []
