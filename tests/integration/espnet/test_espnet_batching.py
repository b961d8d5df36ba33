"""Runs on ``kd_conf.batching``: any number of processes, resumed or not, the same updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from children import Outcome

pytestmark = pytest.mark.integration

LOSS = {"layer_distill": {"distill_layers": "1,2", "teacher_width": 32}}
# One utterance per batch and none longer than allowed: nothing is cropped at random.
SINGLE = {"seconds_per_batch": 1.2, "min_seconds": 0.601, "max_seconds": 1.2}
SEVERAL = {"seconds_per_batch": 2.0, "min_seconds": 0.3, "max_seconds": 0.6}
NO_DROPOUT = ["dropout", "attention_dropout", "activation_dropout", "dropout_input"]
EXACT = [word for name in NO_DROPOUT for word in ("--student_conf", f"{name}=0.0")]


def conf(batching: dict) -> tuple[object, ...]:
    return ("--kd_conf", {"objectives": LOSS, "batching": batching})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pth", weights_only=False)["model"]


def test_two_processes_do_what_one_does_with_two_batches_per_update(
    train: Callable[..., Outcome], together: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    extra = (*conf(SINGLE), *EXACT)
    alone = train(tmp_path / "alone", *extra, "--accum_grad", 2)
    assert alone.code == 0, alone.output
    assert "an update sees up to 2.4 s: 1.2 s per batch, accum_grad 2, 1 process" in alone.output
    both = together(tmp_path / "both", *extra)
    assert [outcome.code for outcome in both] == [0, 0], both[0].output + both[1].output
    assert "an update sees up to 2.4 s: 1.2 s per batch, accum_grad 1, 2 process" in both[0].output
    ours, theirs = weights(tmp_path / "both"), weights(tmp_path / "alone")
    assert int(ours["num_updates"]) == int(theirs["num_updates"]) >= 6
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


def test_resumed_run_is_equal_bit_for_bit(train: Callable[..., Outcome], tmp_path: Path) -> None:
    extra = (*conf(SEVERAL), "--accum_grad", 2)
    for folder, epochs in (("whole", [3]), ("pieces", [1, 3])):
        for count in epochs:
            steps = ("--max_epoch", count, "--scheduler_conf", "total_steps=9")
            outcome = train(tmp_path / folder, *extra, *steps)
            assert outcome.code == 0, outcome.output
    whole, pieces = (weights(tmp_path / folder) for folder in ("whole", "pieces"))
    assert all(torch.equal(pieces[name], value) for name, value in whole.items())


def test_published_mode_and_short_epochs(train: Callable[..., Outcome], tmp_path: Path) -> None:
    extra = (*conf({**SEVERAL, "quirks": "published"}), "--num_iters_per_epoch", 2)
    outcome = train(tmp_path / "exp", *extra)
    assert outcome.code == 0, outcome.output
    assert "2 updates per epoch (2 batches, accum_grad 1), 4 in all" in outcome.output
    assert "longer than max_seconds 0.6" in outcome.output


def test_statistics_stage_and_no_usable_utterance(
    train: Callable[..., Outcome], corpus: Path, tmp_path: Path
) -> None:
    assert train(tmp_path / "stats", *conf(SEVERAL), "--collect_stats", "true").code == 0
    shapes = (tmp_path / "stats" / "train" / "speech_shape").read_text().split()
    assert shapes == (corpus / "train" / "utt2num_samples").read_text().split()
    outcome = train(tmp_path / "exp", *conf({"max_seconds": 15.0}))
    assert outcome.code == 1
    assert "none of its 12 utterances has the allowed length" in outcome.output
    assert "Traceback" not in outcome.output
    assert not (tmp_path / "exp").exists()
