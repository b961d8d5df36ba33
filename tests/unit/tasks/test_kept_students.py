"""Folders of the best and last students: which are there after each epoch, and after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from espnet2.train import trainer
from espnet2.train.reporter import Reporter

from espnet_kd.tasks.hooks import RunHooks, StudentLimits
from espnet_kd.tasks.kept_students import StudentKeeper, reporters_seen
from espnet_kd.tasks.whisper_model import WhisperDistillModel
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from tests.unit.tasks.whisper_corpus import tiny_student

WER = ["valid", "wer", "min"]
VALUES = (50.0, 30.0, 40.0, 30.0, 20.0)
"""WER of the epochs 1 to 5; each has ten updates."""


class Model(RunHooks):
    """Exports one number."""

    def export(self, states: dict[str, torch.Tensor], folder: Path) -> None:
        (folder / "weight").write_text(str(float(states["weight"])))

    def forward(self, **_: Any) -> Any: ...

    def collect_feats(self, **_: Any) -> Any: ...


def keeper(exp: Path, limits: StudentLimits, criterion: list[str] = WER) -> StudentKeeper:
    return StudentKeeper(Model(), exp, criterion, limits)


def save_epoch(exp: Path, reporter: Reporter, epoch: int, value: float) -> None:
    """What ESPnet leaves of an epoch, when the next one has begun."""
    reporter.set_epoch(epoch)
    with reporter.observe("valid") as part:
        part.register({"wer": value})
        part.next()
    states = {"weight": torch.tensor(float(epoch)), "num_updates": torch.tensor(10 * epoch)}
    torch.save(states, exp / f"{epoch}epoch.pth")
    reporter.set_epoch(epoch + 1)


def there(exp: Path) -> list[str]:
    return sorted(path.name for path in (exp / "students").glob("*"))


def best(epoch: int, value: float | None = None) -> str:
    value = VALUES[epoch - 1] if value is None else value
    return f"checkpoint-{10 * epoch}-epoch-{epoch}-val-wer-{value:.3f}"


def test_the_best_epochs_have_folders_all_the_time(tmp_path: Path) -> None:
    reporter, kept, history = Reporter(), keeper(tmp_path, StudentLimits(best=2)), []
    kept.update(reporter)  # before the first epoch
    assert there(tmp_path) == []
    for epoch, value in enumerate(VALUES, 1):
        save_epoch(tmp_path, reporter, epoch, value)
        kept.update(reporter)
        history.append(there(tmp_path))
    # Of the equal epochs 2 and 4 the earlier stays.
    expected = [[1], [1, 2], [2, 3], [2, 4], [2, 5]]
    assert history == [[best(epoch) for epoch in epochs] for epochs in expected]
    assert (tmp_path / "students" / best(5) / "weight").read_text() == "5.0"


def test_the_last_epochs_too(tmp_path: Path) -> None:
    reporter, kept = Reporter(), keeper(tmp_path, StudentLimits(best=1, last=2))
    for epoch, value in enumerate(VALUES[:4], 1):
        save_epoch(tmp_path, reporter, epoch, value)
        kept.update(reporter)
    assert there(tmp_path) == [best(2), "checkpoint-30-epoch-3", "checkpoint-40-epoch-4"]


def test_a_criterion_that_grows(tmp_path: Path) -> None:
    reporter, kept = Reporter(), keeper(tmp_path, StudentLimits(best=1), ["valid", "wer", "max"])
    for epoch, value in enumerate(VALUES, 1):
        save_epoch(tmp_path, reporter, epoch, value)
        kept.update(reporter)
    assert there(tmp_path) == [best(1)]


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_epoch_without_a_value_is_never_best(tmp_path: Path, value: float) -> None:
    reporter, kept = Reporter(), keeper(tmp_path, StudentLimits(best=1, last=1))
    save_epoch(tmp_path, reporter, 1, value)
    kept.update(reporter)
    assert there(tmp_path) == ["checkpoint-10-epoch-1"]
    other = keeper(tmp_path, StudentLimits(best=1, last=1), ["valid", "acc", "max"])
    other.update(reporter)
    assert there(tmp_path) == ["checkpoint-10-epoch-1"]


def test_nothing_is_exported_unless_asked_for(tmp_path: Path) -> None:
    reporter = Reporter()
    save_epoch(tmp_path, reporter, 1, 9.0)
    keeper(tmp_path, Model().student_limits(3)).update(reporter)
    assert not (tmp_path / "students").exists()


def test_a_killed_run_makes_up_for_what_it_missed(tmp_path: Path) -> None:
    """Killed with a half-written folder and one too many: a new process puts both right."""
    reporter, kept = Reporter(), keeper(tmp_path, StudentLimits(best=1))
    save_epoch(tmp_path, reporter, 1, VALUES[0])
    kept.update(reporter)
    save_epoch(tmp_path, reporter, 2, VALUES[1])
    half = tmp_path / "students" / f".{best(2)}.abc"
    half.mkdir()
    (half / "weight").write_text("hal")
    keeper(tmp_path, StudentLimits(best=1)).update(reporter)
    assert there(tmp_path) == [best(2)]
    (tmp_path / "1epoch.pth").unlink()  # as ESPnet does
    shutil.copytree(tmp_path / "students" / best(2), tmp_path / "students" / best(1))
    keeper(tmp_path, StudentLimits(best=1)).update(reporter)
    assert there(tmp_path) == [best(2)]
    assert not list((tmp_path / "students").glob(".*"))


def test_folders_of_another_criterion_are_left_alone(tmp_path: Path) -> None:
    """A loss is not compared with an error rate."""
    earlier = tmp_path / "students" / "checkpoint-5-epoch-1-val-loss-0.500000"
    earlier.mkdir(parents=True)
    reporter = Reporter()
    save_epoch(tmp_path, reporter, 1, 9.0)
    keeper(tmp_path, StudentLimits(best=1)).update(reporter)
    assert there(tmp_path) == sorted([earlier.name, best(1, 9.0)])


def test_averages_are_no_epochs(tmp_path: Path) -> None:
    reporter = Reporter()
    save_epoch(tmp_path, reporter, 1, 9.0)
    (tmp_path / "1epoch.pth").rename(tmp_path / "valid.wer.ave_1best.till1epoch.pth")
    keeper(tmp_path, StudentLimits(best=1)).update(reporter)
    assert there(tmp_path) == []


def test_the_trainers_reporter_is_seen() -> None:
    before = trainer.Reporter
    with reporters_seen() as seen:
        made = trainer.Reporter()
        assert isinstance(made, Reporter)
    assert seen == [made]
    assert trainer.Reporter is before


def test_a_whisper_run_keeps_as_many_as_its_options_say() -> None:
    def limits(**conf: Any) -> StudentLimits:
        kd = WhisperDistillConfig.from_dict(conf)
        return WhisperDistillModel(tiny_student(), kd, with_teacher=False).student_limits(3)

    assert limits() == StudentLimits(best=3)
    assert limits(save_best_total_limit=0, save_total_limit=2) == StudentLimits(last=2)
