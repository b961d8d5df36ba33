"""Training curves out of TensorBoard folders, ESPnet logs and plain numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_kd.errors import KDError
from espnet_kd.evaluation.curves import load_curves, pick

LOG = """[host] 2025-01-01 (trainer:300) INFO: 1/3epoch started.
[host] 2025-01-01 (trainer:357) INFO: 1epoch results: [train] iter_time=1.2e-04, loss=3.100, \
total_count=8, time=2 minutes and 1.2 seconds, [valid] loss=2.900, acc=0.310, time=1 second
[host] 2025-01-01 (trainer:357) INFO: 2epoch results: [train] loss=nan, [valid] loss=2.100
[host] 2025-01-01 (trainer:357) INFO: 2epoch results: [train] loss=1.500e+03, [valid] loss=2.000
"""


def test_espnet_log(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(LOG)
    curves = load_curves(tmp_path / "train.log")
    # Epoch 2 was repeated after a resume: the last line counts.
    assert curves["train/loss"] == [(1.0, 3.1), (2.0, 1500.0)]
    assert curves["valid/loss"] == [(1.0, 2.9), (2.0, 2.0)]
    assert curves["valid/acc"] == [(1.0, 0.31)]
    assert curves["train/iter_time"] == [(1.0, 1.2e-4)]
    assert "train/time" not in curves


def test_tensorboard_folder(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for split, offset in (("train", 0.0), ("valid", 1.0)):
        with SummaryWriter(str(tmp_path / split)) as writer:
            for step in range(5):
                writer.add_scalar("loss", 5.0 - step + offset, 10 * step)
            writer.add_scalar("loss", float("nan"), 60)
    curves = load_curves(tmp_path)
    assert set(curves) == {"train/loss", "valid/loss"}
    assert curves["valid/loss"] == [(10.0 * step, 6.0 - step) for step in range(5)]


def test_numbers_are_sorted_and_finite() -> None:
    curves = load_curves({"loss": [[2, 1.0], [1, float("inf")], [0, 3.0]]})
    assert curves == {"loss": [(0.0, 3.0), (2.0, 1.0)]}


def test_pick_takes_the_first_that_is_there() -> None:
    assert pick({"b": [(0, 1)], "c": [(0, 2)]}, ["a", "b", "c"]) == [(0, 1)]
    assert pick({}, ["a"]) == []


@pytest.mark.parametrize("name", ["gone", "empty", "notes.txt"])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing here\n")
    with pytest.raises(KDError, match=name):
        load_curves(tmp_path / name)
