"""What was written is read; what was cut, changed or does not fit is passed over."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from s3prl_upstreams.cache import report, shards
from s3prl_upstreams.cache.shards import Entry, ShardFolder


def key(number):
    return hashlib.sha256(str(number).encode()).digest()


def entry(number, size=5):
    return Entry(torch.arange(2 * size, dtype=torch.float32).view(2, size) + number, 3, number == 1)


@pytest.fixture(autouse=True)
def fresh_report(monkeypatch):
    monkeypatch.setattr(report, "_said", set())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "upstream"


def write(folder, numbers, budget=10**6):
    store = ShardFolder(folder, budget)
    for number in numbers:
        store.put(key(number), entry(number))
    store.close()


def readable(folder, numbers=range(10)):
    store = ShardFolder(folder, 10**6)
    found = {number: store.get(key(number)) for number in numbers}
    store.close()
    for number, one in found.items():
        if one is not None:
            assert torch.equal(one.tensor, entry(number).tensor)
            assert (one.frames, one.single) == (3, number == 1)
    return {number for number, one in found.items() if one is not None}


def only(folder):
    (path,) = folder.glob("*.shard")
    return path


def test_processes_share_a_folder(folder):
    first, second = ShardFolder(folder, 10**6), ShardFolder(folder, 10**6)
    first.put(key(0), entry(0))
    second.put(key(1), entry(1))
    assert torch.equal(first.get(key(0)).tensor, entry(0).tensor), "its own at once"
    assert first.get(key(1)) is None
    assert readable(folder) == {0, 1}
    assert len(list(folder.glob("*.shard"))) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_formats_are_kept(folder, dtype):
    store = ShardFolder(folder, 10**6)
    tensor = torch.randn(2, 1, 3, 4).to(dtype)
    store.put(key(0), Entry(tensor.transpose(0, 3)))
    read = ShardFolder(folder, 0).get(key(0)).tensor
    assert read.dtype == dtype
    assert torch.equal(read, tensor.transpose(0, 3))


def test_what_no_record_can_hold_is_left_out(folder):
    store = ShardFolder(folder, 10**6)
    store.put(key(0), Entry(torch.zeros(2, dtype=torch.int64)))
    store.put(key(1), Entry(torch.zeros(1, 1, 1, 1, 1)))
    assert len(store) == 0


def test_every_cut_leaves_the_whole_records(folder, capsys):
    write(folder, range(3))
    path = only(folder)
    data = path.read_bytes()
    record = len(data) // 3
    for size in range(0, len(data) + 1, 7):
        path.write_bytes(data[:size])
        assert readable(folder) == set(range(size // record))
    assert capsys.readouterr().err == "", "another process may be writing it"


def test_a_killed_process_leaves_a_readable_shard(folder):
    child = os.fork()
    if child == 0:
        store = ShardFolder(folder, 10**9)
        for number in itertools.count():
            store.put(key(number), entry(number))
    while not any(path.stat().st_size > 5000 for path in folder.glob("*.shard")):
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert readable(folder, range(20)) == set(range(20))


def test_a_damaged_header_ends_a_shard(folder, capsys):
    write(folder, range(3))
    path = only(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 + 20] ^= 1
    path.write_bytes(data)
    assert readable(folder) == {0}
    assert f"{path} is damaged at byte" in capsys.readouterr().err


def test_a_damaged_shard_is_named_and_ignored(folder, capsys):
    write(folder, range(2))
    damaged = only(folder)
    write(folder, [2])
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    store = ShardFolder(folder, 10**6)
    assert store.get(key(1)) is None
    assert store.get(key(0)) is None, "the rest of it is not trusted either"
    assert torch.equal(store.get(key(2)).tensor, entry(2).tensor)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{damaged} is damaged (checksum" in said
    store.put(key(1), entry(1))
    assert torch.equal(store.get(key(1)).tensor, entry(1).tensor)


def test_the_budget_holds_for_all_upstreams_together(folder, capsys):
    write(folder.parent / "other", [0])
    record = only(folder.parent / "other").stat().st_size
    write(folder, range(5), budget=3 * record + 1)
    assert readable(folder) == {0, 1}
    assert capsys.readouterr().err.count("the budget is used up") == 1


def test_the_budget_holds_for_all_processes_together(folder, capsys):
    write(folder.parent / "size", [0])
    record = only(folder.parent / "size").stat().st_size
    stores = [ShardFolder(folder, 10 * record) for _ in range(4)]
    for number in range(100):
        stores[number % 4].put(key(number), entry(number))
    taken = sum(path.stat().st_size for path in folder.parent.rglob("*.shard"))
    assert taken <= 10 * record
    assert "the budget is used up" in capsys.readouterr().err


def test_a_disk_keeps_room_for_checkpoints(folder, capsys, monkeypatch):
    free = [shards.RESERVE_BYTES + 300]

    def disk(file):
        return SimpleNamespace(f_frsize=1, f_blocks=10**12, f_bavail=free[0])

    monkeypatch.setattr(shards.os, "fstatvfs", disk)
    store = ShardFolder(folder, 10**6)
    store.put(key(0), entry(0))
    free[0] = shards.RESERVE_BYTES + 3
    store.put(key(1), entry(1))
    store.close()
    assert readable(folder) == {0}
    assert "2 GB, which are left to checkpoints; nothing more is added" in capsys.readouterr().err


def test_a_folder_that_is_being_deleted_does_not_break_the_run(folder, monkeypatch):
    write(folder, [0])
    store = ShardFolder(folder, 10**6)
    listed = shards._shards
    gone = folder / "gone.shard"
    monkeypatch.setattr(shards, "_shards", lambda *given: [*listed(*given), gone])
    store.refresh()
    assert store.get(key(0)) is not None


def test_a_full_disk_ends_the_adding(folder, capsys, monkeypatch):
    real, calls = os.write, []

    def nearly_full(file, data):
        calls.append(len(data))
        if len(calls) == 4:
            return real(file, data[: len(data) // 2])
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data)

    monkeypatch.setattr(shards.os, "write", nearly_full)
    write(folder, range(4))
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.count("No space left on device; nothing more is added, the run goes on") == 1
    assert readable(folder) == {0}
    assert only(folder).stat().st_size % len(only(folder).read_bytes()) == 0


def test_a_folder_that_cannot_be_made_does_not_break_the_run(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    store = ShardFolder(tmp_path / "file" / "key", 10**6)
    store.put(key(0), entry(0))
    assert store.get(key(0)) is None
    assert "Not a directory" in capsys.readouterr().err


def test_shards_do_not_grow_for_ever(folder, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    write(folder, range(5))
    assert readable(folder) == set(range(5))
    assert len(list(folder.glob("*.shard"))) > 1


def test_records_of_others_are_found_by_looking_again(folder):
    first, second = (ShardFolder(folder, 10**6) for _ in range(2))
    first.put(key(1), entry(1))
    assert key(1) not in second
    second.put(key(5), entry(5))
    for number in (2, 3):
        second.refresh()
        assert key(number) not in second
        first.put(key(number), entry(number))
    second.refresh()
    found = second.get(key(3))
    assert found is not None
    assert torch.equal(found.tensor, entry(3).tensor)
    assert len(second) == 4
    assert second.left == 10**6 - sum(path.stat().st_size for path in folder.glob("*.shard"))
    first.close()
    second.close()
