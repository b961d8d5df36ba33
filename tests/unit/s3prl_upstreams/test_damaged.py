"""Which checkpoint a stopped training goes on with."""

from __future__ import annotations

import os

import pytest
import torch

from espnet_kd.errors import CheckpointError
from s3prl_upstreams.damaged import choose_states, is_whole
from s3prl_upstreams.invocation import Invocation


def command(*words):
    return Invocation.parse(["-u", "u", "-d", "sid", *words], {})


def save(path, cut=False):
    torch.save({"Step": 1, "weights": torch.zeros(1000)}, path)
    if cut:
        os.truncate(path, path.stat().st_size // 2)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("option", ["-a", "-e"])
def test_cut_off_ones_are_passed_over(tmp_path, option, capsys):
    save(tmp_path / "states-9.ckpt")
    save(tmp_path / "states-10.ckpt", cut=True)
    (tmp_path / "states-100.ckpt").touch()
    where = ["-p", str(tmp_path), "-a"] if option == "-a" else ["-e", str(tmp_path)]
    choose_states(command(*where))
    aside = ["states-9.ckpt", "unreadable-states-10.ckpt", "unreadable-states-100.ckpt"]
    assert names(tmp_path) == aside
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert f"{tmp_path / 'states-10.ckpt'} is cut off" in said
    assert "states-9.ckpt is taken" in said


def test_a_run_that_does_not_go_on_leaves_them(tmp_path):
    save(tmp_path / "states-9.ckpt", cut=True)
    choose_states(command("-p", str(tmp_path)))
    assert names(tmp_path) == ["states-9.ckpt"]


def test_without_another_one_file_and_remedy_are_said(tmp_path):
    path = tmp_path / "states-9.ckpt"
    save(path, cut=True)
    call = command("-p", str(tmp_path), "-a")
    with pytest.raises(CheckpointError, match=r"states-9.ckpt is cut off .*: remove it, and"):
        choose_states(call)
    save(tmp_path / "dev-best.ckpt")
    with pytest.raises(CheckpointError, match=r"go on from .*dev-best.ckpt with -e"):
        choose_states(call)
    with pytest.raises(CheckpointError, match=r"states-9.ckpt is cut off"):
        choose_states(command("-e", str(path)))
    assert path.exists()


def test_a_given_file_that_is_cut_off(tmp_path):
    best = tmp_path / "dev-best.ckpt"
    save(best)
    choose_states(command("-m", "evaluate", "-e", str(best)))
    save(best, cut=True)
    with pytest.raises(CheckpointError, match="dev-best.ckpt is cut off .*remove it"):
        choose_states(command("-m", "evaluate", "-e", str(best)))


def test_what_a_kill_left_beside_is_removed(tmp_path):
    save(tmp_path / "states-9.ckpt")
    (tmp_path / ".states-10.ckpt.ab12").touch()
    choose_states(command("-p", str(tmp_path), "-a"))
    assert names(tmp_path) == ["states-9.ckpt"]


def test_whole_files_of_both_formats_and_damage_inside(tmp_path):
    path = tmp_path / "states-1.ckpt"
    torch.save({"Step": 1}, path, _use_new_zipfile_serialization=False)
    assert is_whole(path)
    save(path)
    assert is_whole(path)
    middle = path.stat().st_size // 2  # pages of zeros, as after a crash of the machine
    with path.open("r+b") as stream:
        stream.seek(middle)
        stream.write(b"\x01" * 64)
    assert not is_whole(path)
