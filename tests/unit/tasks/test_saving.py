"""Atomic checkpoints, messages about damaged ones, repair after a kill, one run per folder."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import cast

import pytest
import torch

from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.tasks.export import export_states
from espnet_kd.tasks.hooks import RunHooks
from espnet_kd.tasks.lock import LOCK_NAME, output_dir_lock
from espnet_kd.tasks.saving import (
    atomic_torch_save,
    changed_options,
    explain_damage,
    remove_leftovers,
    repair_best_links,
    repair_epoch_file,
)


def in_child(function) -> int:
    """Exit code of a forked child: 0, or 1 if the function failed."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"x": torch.zeros(3)}, path)
    before = path.read_bytes()

    def save_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        with atomic_torch_save(), pytest.raises(KDError, match="bytes free there"):
            torch.save({"x": torch.zeros(100_000)}, path)

    assert in_child(save_too_much) == 0
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_save_is_replaced_only_inside_the_block(tmp_path: Path) -> None:
    write = torch.save
    with atomic_torch_save():
        assert torch.save is not write
        torch.save(torch.ones(2), tmp_path / "a.pth")
        with (tmp_path / "b.pth").open("wb") as stream:
            torch.save(torch.ones(2), stream)
    assert torch.save is write
    assert torch.equal(torch.load(tmp_path / "a.pth"), torch.load(tmp_path / "b.pth"))


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_unreadable_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{path} is damaged"), explain_damage(path):
        torch.load(path)


def test_other_model_is_told_from_damage(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="belongs to another model"),
        explain_damage(tmp_path / "c"),
    ):
        torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict())


def test_leftovers_and_epoch_file(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pth.abc").write_bytes(b"x")
    (tmp_path / ".3epoch.pth.abc").write_bytes(b"x")
    (tmp_path / "2epoch.pth").write_bytes(b"kept")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["2epoch.pth"]
    repair_epoch_file(tmp_path, 2, {})
    assert (tmp_path / "2epoch.pth").read_bytes() == b"kept"
    repair_epoch_file(tmp_path, 3, {"x": torch.ones(1)})
    assert torch.equal(torch.load(tmp_path / "latest.pth")["x"], torch.ones(1))
    repair_epoch_file(tmp_path, 0, {})
    assert not (tmp_path / "0epoch.pth").exists()


class Reporter:
    """ESPnet's, as far as it is asked."""

    def has(self, phase: str, key: str) -> bool:
        return key == "loss"

    def get_best_epoch(self, phase: str, key: str, mode: str) -> int:
        return 2


def test_best_links_point_to_the_best_epoch(tmp_path: Path) -> None:
    for epoch in (1, 2):
        (tmp_path / f"{epoch}epoch.pth").touch()
    (tmp_path / "valid.loss.best.pth").symlink_to("1epoch.pth")
    repair_best_links(tmp_path, Reporter(), [("valid", "loss", "min"), ("valid", "acc", "max")])
    assert (tmp_path / "valid.loss.best.pth").readlink().name == "2epoch.pth"
    assert not (tmp_path / "valid.acc.best.pth").is_symlink()


def test_lock_is_refused_to_others_and_ends_with_its_holder(tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(KDError, match=f"process {os.getppid()} on "), output_dir_lock(tmp_path):
            pass

    def killed() -> None:
        with output_dir_lock(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)

    with output_dir_lock(tmp_path):
        assert (tmp_path / LOCK_NAME).exists()
        assert in_child(refused) == 0
    assert in_child(killed) == -signal.SIGKILL
    with output_dir_lock(tmp_path):
        pass


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/no/such"])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    message = f"cannot write .*{name}.*choose another folder"
    with pytest.raises(KDError, match=message), output_dir_lock(tmp_path / name):
        pytest.fail("the lock was taken")
    with pytest.raises(KDError, match="cannot write .*student.*choose another folder"):
        export_states(cast(RunHooks, None), {}, tmp_path / name / "student")
    assert (tmp_path / "file").read_text() == "mine"


def test_changes_of_a_run_that_goes_on(tmp_path: Path) -> None:
    now = {"kd_conf": {"mask": {"mask_prob": 0.4}, "crop": {"max_seconds": 1.0}}}
    (tmp_path / "config.yaml").write_text("kd_conf: {mask: {mask_prob: 0.8, mask_length: 5}}\n")
    assert changed_options(tmp_path, now) == []  # nothing was trained
    (tmp_path / "checkpoint.pth").touch()
    assert changed_options(tmp_path, now) == [
        "kd_conf.mask.mask_prob: 0.8 -> 0.4",
        "kd_conf.mask.mask_length: 5 -> None",
        "kd_conf.crop: None -> {'max_seconds': 1.0}",
    ]
    for damaged in ("", "a: [1"):
        (tmp_path / "config.yaml").write_text(damaged)
        assert changed_options(tmp_path, now) == []
