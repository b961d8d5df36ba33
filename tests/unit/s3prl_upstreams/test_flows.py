"""What a command without ``-m`` runs, with a stand-in for S3PRL."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from espnet_kd.errors import CheckpointError, ConfigError, KDError
from s3prl_upstreams import flows
from s3prl_upstreams.flows import best_checkpoint, run_flow, saved_states
from s3prl_upstreams.invocation import Invocation
from s3prl_upstreams.scores import RunScore, save_scores


class Stock:
    """Writes the checkpoints of a training, and gives each evaluation the next value."""

    def __init__(self, values, states=(), best=(), direction="higher"):
        self.values, self.direction = list(values), direction
        self.states, self.best = states, best
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        call.folder.mkdir(parents=True, exist_ok=True)
        if call.mode == "train":
            for name in [*(f"states-{step}.ckpt" for step in self.states), *self.best]:
                (call.folder / name).touch()
            return []
        direction = "lower" if call.task.name == "ASV" else self.direction
        score = RunScore(
            call.task.name, "x", self.values.pop(0), "", direction, call.split or "test",
            call.past_exp or "", "u", call.ckpt or "",
        )  # fmt: skip
        folder = call.folder
        if call.override and "args.expdir" in call.override:
            folder = Path(call.override.split("'")[1])
            folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_predict.txt").write_text(str(score.value))
        save_scores([score], str(folder))
        return [score]


def command(tmp_path, task, *words):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"downstream_expert": {"datarc": {"test_fold": None}}}))
    call = Invocation.parse(["-u", "u", "-d", task, "-p", str(tmp_path / "exp"), *words], {})
    return replace(call, config=str(config))


def test_the_best_checkpoint_is_evaluated(tmp_path):
    stock = Stock([1.0], states=(5,), best=("best-states-dev.ckpt",))
    (score,) = run_flow(command(tmp_path, "sd"), stock)
    assert [call.mode for call in stock.calls] == ["train", "evaluate"]
    assert score.checkpoint.endswith("best-states-dev.ckpt")


def test_every_checkpoint_of_verification_is_evaluated_and_the_best_kept(tmp_path):
    stock = Stock([0.3, 0.1, 0.2], states=(10, 20, 100))
    (score,) = run_flow(command(tmp_path, "asv"), stock)
    assert score.value == 0.1
    assert {call.home for call in stock.calls} == {str(tmp_path / "exp")}, "lengths measured once"
    assert score.checkpoint.endswith("states-20.ckpt")
    assert (tmp_path / "exp" / "test_predict.txt").read_text() == "0.1"
    assert json.loads((tmp_path / "exp" / "score.json").read_text())["value"] == 0.1

    # Going on repeats nothing but what a newer checkpoint needs.
    newer = tmp_path / "exp" / "states-100.ckpt"
    os.utime(newer, (2**31, 2**31))
    again = Stock([0.05])
    (score,) = run_flow(command(tmp_path, "asv", "-a"), again)
    assert [call.mode for call in again.calls] == ["train", "evaluate"]
    assert score.value == 0.05


def test_a_run_that_goes_on_stays_in_the_folder_of_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exp = tmp_path / "exp"
    exp.mkdir()
    for words, states in ((["-e", "exp"], (1,)), (["-e", "exp/states-1.ckpt", "-a"], ())):
        call = Invocation.parse([*words, "-d", "asv", "--feature_cache", "isolated"], {})
        stock = Stock([0.3], states=states)
        run_flow(call.completed(config=None, device="cpu"), stock)
        assert {call.cache.folder for call in stock.calls} == {"exp/feature_cache"}
        assert {call.home for call in stock.calls} == {"exp"}
    assert not (tmp_path / "result").exists()
    assert (exp / "score.json").is_file()
    assert (exp / "checkpoints" / "states-1" / "score.json").is_file()
    assert len(stock.calls) == 1, "the second run finds the checkpoint's score"


@pytest.mark.parametrize("change", ["same", "file", "folder", "unrelated", "upstream"])
def test_scores_of_an_upstream_that_has_changed_are_out_of_date(tmp_path, change):
    model = tmp_path / "student"
    model.mkdir()
    (model / "model.safetensors").write_text("old")
    ckpt = model / "model.safetensors" if change == "file" else model
    words = ["-k", str(ckpt)]
    run_flow(command(tmp_path, "er", *words), Stock(5 * [1.0], best=("dev-best.ckpt",)))
    later = (2**31, 2**31)
    if change in ("file", "folder"):
        os.utime(model / "model.safetensors", later)
    elif change == "unrelated":
        os.utime(model, later)
    again = command(tmp_path, "er", *words, "-a")
    stock = Stock(5 * [2.0], best=("dev-best.ckpt",))
    (score,) = run_flow(replace(again, upstream="v") if change == "upstream" else again, stock)
    assert score.value == (1.0 if change in ("same", "unrelated") else 2.0)


def test_five_folds_and_their_mean(tmp_path):
    stock = Stock([1.0, 2.0, 3.0, 4.0, 5.0], best=("dev-best.ckpt",))
    (score,) = run_flow(command(tmp_path, "er"), stock)
    assert score.value == 3.0
    assert score.split == "test, 5 folds"
    folders = [call.folder.name for call in stock.calls if call.mode == "train"]
    assert folders == [f"fold{number}" for number in range(1, 6)]
    assert "test_fold='fold5'" in stock.calls[-1].override

    again = Stock([])
    assert run_flow(command(tmp_path, "er", "-a"), again)[0].value == 3.0
    assert again.calls == []


@pytest.mark.parametrize("words", [["-o", "config.downstream_expert.datarc.test_fold='fold2'"],
                                   ["-v", "fold2"]])  # fmt: skip
def test_one_fold_on_request(tmp_path, words):
    stock = Stock([7.0], best=("dev-best.ckpt",))
    assert run_flow(command(tmp_path, "er", *words), stock)[0].value == 7.0
    assert len(stock.calls) == 2


def test_the_best_layer_on_the_development_queries_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(flows, "build_upstream", lambda *_: None)
    monkeypatch.setattr(flows, "describe", lambda _: {"layers": 3})
    stock = Stock([0.1, 0.3, 0.2, 0.25])
    (score,) = run_flow(command(tmp_path, "qbe"), stock)
    asked = [(call.split, call.layer, call.mode) for call in stock.calls]
    layers = [("dev", "0"), ("dev", "1"), ("dev", "2"), ("test", "1")]
    assert asked == [(split, layer, "evaluate") for split, layer in layers]
    assert (score.value, score.checkpoint) == (0.25, "layer 1")

    again = Stock([0.4])
    (score,) = run_flow(command(tmp_path, "qbe", "-a"), again)
    assert [call.split for call in again.calls] == ["test"]
    other = Stock([0.4] * 4)
    run_flow(replace(command(tmp_path, "qbe", "-a"), ckpt="another"), other)
    assert len(other.calls) == 4, "scores of another upstream are out of date"


def with_dev(stock, records):
    """Runs of ``stock`` whose trainings leave these records of the development split, in turn."""
    left = iter(records)

    def run(call):
        scores = stock(call)
        if call.mode == "train":
            (call.folder / "dev.json").write_text(json.dumps(next(left)))
        return scores

    return run


def test_the_best_learning_rate_on_the_development_split_counts(tmp_path):
    """Dev says 1e-3, the test set would have said 1e-4."""
    stock = Stock([0.3, 0.4, 0.8], best=("dev-best.ckpt",))
    run = with_dev(stock, [{"value": value} for value in (0.2, 0.9, 0.5)])

    (score,) = run_flow(command(tmp_path, "sid", "--lr_sweep", "1e-2 1e-3 1e-4"), run)
    assert score.value == 0.4
    folder = tmp_path / "exp"
    assert json.loads((folder / "score.json").read_text())["value"] == 0.4
    assert (folder / "test_predict.txt").read_text() == "0.4"
    assert not list(folder.glob("*.ckpt"))
    assert "config.optimizer.lr=0.0001" in stock.calls[-1].override

    again = Stock([])
    run_flow(command(tmp_path, "sid", "--lr_sweep", "1e-2 1e-3 1e-4", "-a"), again)
    assert again.calls == []


def test_without_a_development_split_the_trials_decide(tmp_path):
    stock = Stock([0.3, 0.1], states=(1,))
    (score,) = run_flow(command(tmp_path, "asv", "--lr_sweep", "1e-3 1e-4"), stock)
    assert score.value == 0.1


def test_diarisation_is_chosen_by_its_frame_accuracy_on_dev(tmp_path):
    """Higher is better there, lower in DER, and the test set must not be asked."""
    stock = Stock([10.0, 30.0, 20.0], best=("best-states-dev.ckpt",), direction="lower")
    run = with_dev(stock, [{"value": v, "direction": "higher"} for v in (0.5, 0.9, 0.7)])

    (score,) = run_flow(command(tmp_path, "sd", "--lr_sweep", "1e-2 1e-3 1e-4"), run)
    assert (score.value, score.direction) == (30.0, "lower")


@pytest.mark.parametrize(("task", "where"), [("sd", "lr_1e-3"), ("er", "lr_1e-3/fold1")])
def test_a_learning_rate_is_never_chosen_by_the_test_set(tmp_path, task, where):
    stock = Stock([0.5] * 10, states=(1,))
    with pytest.raises(KDError, match=rf"{where}/dev.json is missing: .* with -a"):
        run_flow(command(tmp_path, task, "--lr_sweep", "1e-3 1e-4"), stock)
    assert {"1e-4" in (call.override or "") for call in stock.calls} == {False}, "said at once"


def test_folds_are_compared_by_the_mean_of_their_dev_scores(tmp_path):
    stock = Stock([*5 * [1.0], *5 * [2.0]], best=("dev-best.ckpt",))
    dev = (0.1, 0.1, 0.1, 0.1, 0.9, *5 * [0.2])
    run = with_dev(stock, [{"value": value} for value in dev])

    (score,) = run_flow(command(tmp_path, "er", "--lr_sweep", "1e-3 1e-4"), run)
    assert score.value == 1.0


def test_a_layer_on_request(tmp_path):
    stock = Stock([0.5])
    assert run_flow(command(tmp_path, "qbe", "-l", "2"), stock)[0].checkpoint == "layer 2"


def test_a_run_that_saved_nothing(tmp_path):
    for task in ("sid", "asv"):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            run_flow(command(tmp_path, task), Stock([]))


def test_states_are_in_the_order_of_updates(tmp_path):
    for step in (100, 20, 3):
        (tmp_path / f"states-{step}.ckpt").touch()
    assert [path.stem for path in saved_states(tmp_path)] == ["states-3", "states-20", "states-100"]
    call = Invocation.parse(["-e", str(tmp_path)], {})
    assert best_checkpoint(call).name == "states-100.ckpt"
    (tmp_path / "dev-best.ckpt").touch()
    assert best_checkpoint(call).name == "dev-best.ckpt"


def test_a_path_that_s3prl_would_misread(tmp_path):
    call = replace(command(tmp_path, "asv"), expdir=str(tmp_path / "a=b"))
    with pytest.raises(ConfigError, match="cannot hold"):
        run_flow(call, Stock([1.0], states=(1,)))
