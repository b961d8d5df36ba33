"""Append-only files: a torn end is cut off, damage elsewhere is told."""

from __future__ import annotations

import pytest

from espnet_kd.data.label_shards import append, mend, read_rows, row_at, shard_path, shard_paths
from espnet_kd.errors import DataDirError, KDError


def test_rows_are_added_and_found_again(tmp_path):
    path = shard_path(tmp_path, "labels", 3)
    assert path.name == "labels.03.jsonl"
    append(path, [{"a": "é"}, {"b": 2}])
    append(path, [])
    append(path, [{"c": None}])
    found = list(read_rows(path))
    assert [row for _, row in found] == [{"a": "é"}, {"b": 2}, {"c": None}]
    assert [row_at(path, offset) for offset, _ in found] == [row for _, row in found]


def test_shards_of_a_kind_are_listed(tmp_path):
    for name in ("labels.00.jsonl", "labels.12.jsonl", "labels.jsonl", "skipped.00.jsonl"):
        (tmp_path / name).touch()
    assert [path.name for path in shard_paths(tmp_path, "labels")] == [
        "labels.00.jsonl",
        "labels.12.jsonl",
    ]


@pytest.mark.parametrize("torn", [b'{"b": ', b'{"b": 2}', b"\xff\xfe", b'{"b": "\xc3'])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    path = tmp_path / "x"
    path.write_bytes(b'{"a": 1}\n' + torn)
    mend(path)
    assert path.read_bytes() == b'{"a": 1}\n'
    append(path, [{"b": 2}])
    assert [row for _, row in read_rows(path)] == [{"a": 1}, {"b": 2}]


def test_a_whole_file_stays_as_it_is(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b'{"a": 1}\n{"b": 2}\n'):
        path.write_bytes(content)
        mend(path)
        assert path.read_bytes() == content


def test_damage_before_the_end_is_told(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"b": 2}\n')
    with pytest.raises(DataDirError, match=r"x:2: is damaged"):
        mend(path)


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(KDError, match="cannot write"):
        append(tmp_path, [{"a": 1}])
