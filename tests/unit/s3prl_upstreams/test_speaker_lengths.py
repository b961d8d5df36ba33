from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import DataDirError
from s3prl_upstreams.speaker_lengths import TABLE, provide_lengths


def make_files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_table_is_what_s3prl_reads(tmp_path):
    make_files(tmp_path / "wav", "id2/v/1.wav", "id1/v/2.wav", "id1/v/1.wav")
    table = provide_lengths(tmp_path / "wav", tmp_path, lambda path: len(path), threads=2)
    assert table == tmp_path / TABLE
    tags, lengths = torch.load(table, weights_only=True)
    assert tags == [("id1", "v", "1.wav"), ("id1", "v", "2.wav"), ("id2", "v", "1.wav")]
    assert lengths == [len(str(tmp_path / "wav" / "id1/v/1.wav"))] * 3
    assert provide_lengths(tmp_path / "wav", tmp_path, None, threads=2) == table, "measured once"


def test_what_a_stopped_run_measured_is_kept(tmp_path):
    make_files(tmp_path / "wav", *(f"id1/v/{number:03}.wav" for number in range(70)))
    asked = []

    def measure(path):
        asked.append(path)
        if path.endswith("065.wav") and len(asked) < 80:
            raise KeyboardInterrupt
        return 1

    with pytest.raises(KeyboardInterrupt):
        provide_lengths(tmp_path / "wav", tmp_path, measure, threads=1)
    first = len(asked)
    with pytest.raises(KeyboardInterrupt):
        provide_lengths(tmp_path / "wav", tmp_path, measure, threads=1)
    assert len(asked) - first <= 6, "the first 64 were known"
    assert not (tmp_path / TABLE).exists()


def test_wrong_layouts(tmp_path):
    with pytest.raises(DataDirError, match="holds no recordings"):
        provide_lengths(tmp_path, tmp_path, len, threads=1)
    make_files(tmp_path, "id1/1.wav")
    with pytest.raises(DataDirError, match=r"1.wav does not lie in .*SPEAKER/VIDEO"):
        provide_lengths(tmp_path, tmp_path, len, threads=1)
