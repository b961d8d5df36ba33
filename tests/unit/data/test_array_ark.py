"""Archives that grow: a torn end is cut off, damage elsewhere is told, kaldiio reads them."""

from __future__ import annotations

import os

import kaldiio
import numpy as np
import pytest

from espnet_kd.data.array_ark import (
    ArkWriter,
    ark_path,
    ark_paths,
    entries,
    entry_at,
    mend,
    read_array,
)
from espnet_kd.errors import DataDirError, KDError


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"utt-é{i}": rng.integers(0, 256, (3 + i, 4)).astype(np.uint8) for i in range(3)}


@pytest.fixture
def ark(tmp_path):
    path = ark_path(tmp_path, "codes", 3)
    with ArkWriter(path) as writer:
        for key, array in arrays().items():
            writer.write({key: array})
    return path


def test_kaldiio_and_we_read_the_same(ark):
    assert ark.name == "codes.03.ark"
    assert ark_paths(ark.parent, "codes") == [ark]
    found = list(entries(ark))
    assert [entry.key for entry in found] == list(arrays())
    with ark.open("rb") as stream:
        for entry, array in zip(found, arrays().values(), strict=True):
            assert (entry.shape, entry.dtype) == (array.shape, np.uint8)
            np.testing.assert_array_equal(read_array(stream, entry, ark), array)
            np.testing.assert_array_equal(kaldiio.load_mat(f"{ark}:{entry.offset}"), array)
            assert entry_at(stream, entry.key, entry.offset, ark) == entry
    assert found[-1].end == ark.stat().st_size


def test_a_torn_last_record_is_cut_off_wherever_it_ends(ark):
    whole = ark.read_bytes()
    second = [entry.end for entry in entries(ark)][1]
    for size in range(second + 1, len(whole)):
        ark.write_bytes(whole[:size])
        assert [entry.key for entry in mend(ark)] == list(arrays())[:2]
        assert ark.read_bytes() == whole[:second]
    ark.write_bytes(whole[:-1])
    with pytest.raises(DataDirError, match="ends inside a record"):
        list(entries(ark))
    mend(ark)
    key, array = list(arrays().items())[2]
    with ArkWriter(ark) as writer:
        writer.write({key: array})
    assert ark.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"", b"\0" * 700])
def test_whole_records_stay(ark, tail):
    whole = ark.read_bytes()
    ark.write_bytes(whole + tail)
    assert len(mend(ark)) == 3
    assert ark.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"NPY", b"XYZ"), (b"\x93NUMPY", b"\x93NUMPX"), (b"'|u1'", b"'|O' "), (b"(4, 4)", b"(9, 4)")],
)
def test_damage_before_the_end_is_told(ark, old, new):
    start = next(entries(ark)).end
    whole = ark.read_bytes()
    ark.write_bytes(whole[:start] + whole[start:].replace(old, new, 1))
    with pytest.raises(DataDirError, match=f"damaged at byte {start} "):
        mend(ark)


def test_a_place_must_be_that_of_the_utterance(ark):
    first, second, _ = entries(ark)
    with ark.open("rb") as stream:
        for key, offset in ((first.key, second.offset), ("other", first.offset), (first.key, 1)):
            with pytest.raises(DataDirError, match="damaged|is not that of"):
                entry_at(stream, key, offset, ark)


def test_one_process_writes_at_a_time(ark):
    with ArkWriter(ark):
        child = os.fork()
        if child == 0:
            try:
                ArkWriter(ark)
                os._exit(0)
            except KDError as error:
                os._exit(7 if "still writes" in str(error) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(KDError, match="cannot write"):
        ArkWriter(tmp_path / "no" / "folder.ark")
    full = tmp_path / "full.ark"
    full.symlink_to("/dev/full")
    with ArkWriter(full) as writer, pytest.raises(KDError, match="free some space"):
        writer.write(arrays())
