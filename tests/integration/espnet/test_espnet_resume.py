"""Whatever stops a run, nothing that was saved is lost, and the run goes on exactly."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from children import Outcome, finish, start

pytestmark = pytest.mark.integration

EPOCHS = 4
# Dropout, random crops, random masks and an incomplete accumulation: all must repeat.
METHOD = {
    "crop": {"max_seconds": 0.3},
    "mask": {"mask_length": 3},
    "mask_prob_schedule": [0.2, 0.8],
}
RUN = (*("--max_epoch", EPOCHS, "--batch_size", 4, "--accum_grad", 2), *("--kd_conf", METHOD))


def equal(a: Any, b: Any) -> bool:
    """Bitwise equality of nested states."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def final_state(folder: Path) -> dict[str, Any]:
    """Weights, optimiser and schedule at the end of a run."""
    saved = torch.load(folder / "checkpoint.pth", weights_only=False)
    return {key: saved[key] for key in ("model", "optimizers", "schedulers")}


def assert_complete(folder: Path, unbroken: Path) -> None:
    """The folder holds what the unbroken run's folder holds, bit for bit."""
    assert equal(final_state(folder), final_state(unbroken))
    names = {path.name for path in unbroken.iterdir()} - {"tensorboard"}
    assert {path.name for path in folder.iterdir()} >= names
    assert not [path for path in folder.iterdir() if path.name.startswith(".checkpoint")]
    for name in ("valid.loss.best.pth", "valid.loss.ave.pth", "latest.pth"):
        assert (folder / name).resolve().name == (unbroken / name).resolve().name
    ours, theirs = (path / "student" / "model.safetensors" for path in (folder, unbroken))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.fixture(scope="module")
def unbroken(command: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all epochs without interruption."""
    folder = tmp_path_factory.mktemp("unbroken") / "exp"

    def child() -> int:
        from espnet_kd.bin.ssl_distill_train import main

        return main(command(folder, *RUN))

    log = folder.parent / "log"
    outcome = finish(start(child, log), log)
    assert outcome.code == 0, outcome.output
    return folder


def kill_at_batch(number: int, how: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Prepare a child to be killed at its n-th training batch."""

    def prepare() -> None:
        from espnet_kd.tasks.guard import FiniteGuard

        count, before = 0, FiniteGuard.before_forward

        def counting(self: FiniteGuard) -> None:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), how)
            before(self)

        FiniteGuard.before_forward = counting

    return prepare


def kill_at_save(number: int, *, midway: bool) -> Callable[[], None]:
    """Prepare a child to be killed before its n-th write of a checkpoint, or in the middle of
    it."""

    def prepare() -> None:
        count, write = 0, torch.save

        def counting(value: Any, target: Any, *args: Any, **kwargs: Any) -> None:
            nonlocal count
            count += 1
            if count == number:
                if midway:
                    Path(target).write_bytes(b"half of a checkpoint")
                os.kill(os.getpid(), signal.SIGKILL)
            write(value, target, *args, **kwargs)

        torch.save = counting

    return prepare


def test_stopping_after_an_epoch_and_going_on(
    train: Callable[..., Outcome], unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "exp"
    # What depends on the length of the run is fixed: 1 update per epoch, one masking probability.
    run = (*RUN, "--scheduler_conf", "total_steps=4", "--kd_conf", "mask_prob_schedule=null")
    assert train(folder, *run, "--max_epoch", 2).code == 0
    again = train(folder, *run)
    assert again.code == 0, again.output
    assert "The training was resumed" in again.output
    whole = tmp_path / "whole"
    assert train(whole, *run).code == 0
    assert_complete(folder, whole)
    assert not equal(final_state(folder)["model"], final_state(unbroken)["model"])  # it can fail


@pytest.mark.parametrize("batch", [2, 8])
def test_kill_in_an_epoch(
    train: Callable[..., Outcome], unbroken: Path, tmp_path: Path, batch: int
) -> None:
    folder = tmp_path / "exp"
    killed = train(folder, *RUN, before=kill_at_batch(batch))
    assert killed.code == 128 + signal.SIGKILL
    again = train(folder, *RUN)
    assert again.code == 0, again.output
    assert_complete(folder, unbroken)


@pytest.mark.parametrize("midway", [False, True], ids=["before", "in the middle"])
@pytest.mark.parametrize("save", [3, 4], ids=["checkpoint", "epoch file"])
def test_kill_while_saving(
    train: Callable[..., Outcome], unbroken: Path, tmp_path: Path, save: int, midway: bool
) -> None:
    """Two writes per epoch: these are the second epoch's."""
    folder = tmp_path / "exp"
    killed = train(folder, *RUN, before=kill_at_save(save, midway=midway))
    assert killed.code == 128 + signal.SIGKILL
    again = train(folder, *RUN)
    assert again.code == 0, again.output
    assert_complete(folder, unbroken)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_polite_stop_says_how_to_go_on(
    train: Callable[..., Outcome], unbroken: Path, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    folder = tmp_path / "exp"
    stopped = train(folder, *RUN, before=kill_at_batch(5, how))
    assert stopped.code == code, stopped.output
    assert "Traceback" not in stopped.output
    assert "start the same command again" in stopped.output
    assert train(folder, *RUN).code == 0
    assert_complete(folder, unbroken)


def test_finished_run_started_again_changes_nothing(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    outcome = train(folder, *RUN)
    assert outcome.code == 0, outcome.output
    assert_complete(folder, unbroken)


@pytest.mark.parametrize("size", [0, 5000])
def test_damaged_checkpoint_is_named(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path], size: int
) -> None:
    folder = copied(unbroken)
    path = folder / "checkpoint.pth"
    path.write_bytes(path.read_bytes()[:size])
    outcome = train(folder, *RUN)
    assert outcome.code == 1
    assert f"error: {path} is damaged ({size:,} bytes" in outcome.output
    assert "--init_param" in outcome.output
    assert "Traceback" not in outcome.output


def test_checkpoint_of_another_model_is_refused(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    outcome = train(folder, *RUN, "--student_conf", "pos_conv_kernel=8")
    assert outcome.code == 1
    assert "belongs to another model" in outcome.output
    assert "pos_conv" in outcome.output
    # The epochs that are there can still be exported: their configuration is back.
    assert (folder / "config.yaml").read_text() == (unbroken / "config.yaml").read_text()


def test_other_options_for_a_finished_run_are_told(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    outcome = train(folder, *RUN, "--kd_conf", "max_bad_steps=7")
    assert outcome.code == 0
    assert "only act on epochs that are still to come: kd_conf.max_bad_steps: None -> 7" in (
        outcome.output
    )
    # config.yaml says how the epochs that are there were made.
    assert (folder / "config.yaml").read_text() == (unbroken / "config.yaml").read_text()


def test_a_finished_run_is_not_overwritten(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    outcome = train(folder, *RUN, "--resume", "false")
    assert outcome.code == 1
    assert "holds a run already; --resume true" in outcome.output
    assert equal(final_state(folder), final_state(unbroken))


def test_second_run_in_a_folder_is_refused(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    before, config = final_state(folder), (folder / "config.yaml").read_text()
    with (folder / ".running").open("a") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)  # this process holds it, the child may not
        outcome = train(folder, *RUN, "--max_epoch", 6)
    assert outcome.code == 1
    assert f"another run is writing to {folder}" in outcome.output
    assert equal(final_state(folder), before)
    assert (folder / "config.yaml").read_text() == config


def test_full_disk_keeps_the_last_checkpoint(
    train: Callable[..., Outcome], unbroken: Path, copied: Callable[[Path], Path]
) -> None:
    folder = copied(unbroken)
    before = (folder / "checkpoint.pth").read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))

    outcome = train(folder, *RUN, "--max_epoch", 6, before=limit)
    assert outcome.code == 1, outcome.output
    assert f"error: cannot write {folder / 'checkpoint.pth'}" in outcome.output
    assert "bytes free there" in outcome.output
    assert (folder / "checkpoint.pth").read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".checkpoint")]
