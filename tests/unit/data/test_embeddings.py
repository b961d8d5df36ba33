"""Vectors from files of every kind, and what is said of bad ones."""

from __future__ import annotations

import kaldiio
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from espnet_kd.data.embeddings import read_embeddings
from espnet_kd.errors import CheckpointError, DataDirError


def _matrix(rows: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + rows * 3, dtype=np.float32).reshape(rows, 3)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "a.npy", _matrix(4))
    kaldiio.save_ark(
        str(tmp_path / "b.ark"), {"u1": _matrix(2, 100), "u2": _matrix(3, 200)},
        scp=str(tmp_path / "b.scp"),
    )  # fmt: skip
    save_file({"u3": torch.from_numpy(_matrix(5, 300)).half()}, tmp_path / "c.safetensors")
    return tmp_path


def test_all_kinds_in_random_order(folder):
    found = read_embeddings([folder])
    wanted = np.concatenate([_matrix(4), _matrix(2, 100), _matrix(3, 200), _matrix(5, 300)])
    assert found.dtype == np.float32
    assert not np.array_equal(found, wanted)
    np.testing.assert_array_equal(found[np.argsort(found[:, 0])], wanted)
    np.testing.assert_array_equal(read_embeddings([folder], 6), found[:6])
    assert len(read_embeddings([folder / "b.scp"])) == 5


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("d.npy", lambda p: np.save(p, _matrix(2)[:, :2]), "width 2, those before have 3"),
        ("d.npy", lambda p: np.save(p, np.full((2, 3), np.nan, np.float32)), "NaN"),
        ("d.npy", lambda p: np.save(p, np.zeros((2, 3), int)), "expected floats"),
        ("d.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01"), "damaged"),
        ("d.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "damaged"),
        ("d.ark", lambda p: p.write_bytes(b"utt \0BFM \4\1\0"), "damaged"),
        ("d.scp", lambda p: p.write_text("utt cat x.ark |\n"), r"^\S+:1: utt is a command"),
        ("d.safetensors", lambda p: p.write_bytes(b"123"), "damaged"),
    ],
)
def test_bad_files(folder, name, write, message):
    write(folder / name)
    with pytest.raises((DataDirError, CheckpointError), match=message):
        read_embeddings([folder / "a.npy", folder / name])


def test_missing_files(tmp_path):
    with pytest.raises(DataDirError, match=r"x\.npy"):
        read_embeddings([tmp_path / "x.npy"])
    with pytest.raises(DataDirError, match="no vectors"):
        read_embeddings([tmp_path])
