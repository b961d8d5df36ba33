"""Codes of icefall: manifests and HDF5 files, written here in the layout of lhotse 1.33."""

from __future__ import annotations

import gzip
import json
import re
import sys

import h5py
import kaldiio
import numpy as np
import pytest

from espnet_kd.bin.import_codebook_indexes import main
from espnet_kd.data.codes import check_codes
from espnet_kd.data.icefall_codes import common_id
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir

CUTS = {"103-1240-0000-0": 16000, "103-1240-0001-1": 32272, "103-1240-0000-0_sp0.9": 17779}
NAMES = ("103-1240-0000", "103-1240-0001", "sp0.9-103-1240-0000")
UTTERANCES = dict(zip(NAMES, CUTS.values(), strict=True))


def codes_of(cut: str) -> np.ndarray:
    rng = np.random.default_rng(CUTS[cut])
    return rng.integers(0, 256, (CUTS[cut] // 320, 4)).astype(np.uint8)


def row(cut: str, **changes) -> dict:
    array = {
        "storage_type": "numpy_hdf5",
        "storage_path": "exp/vq/train-1.h5",
        "storage_key": cut,
        "shape": list(codes_of(cut).shape),
    }
    field = {"array": {**array, **changes}, "temporal_dim": 0, "frame_shift": 0.02, "start": 0}
    return {
        "id": cut, "start": 0, "duration": CUTS[cut] / 16000, "channel": 0, "supervisions": [],
        "custom": {"codebook_indexes": field}, "type": "MonoCut",
    }  # fmt: skip


def manifest(folder, number: int, rows) -> None:
    path = folder / "data" / f"with_codebook_indexes-train-{number}.jsonl.gz"
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def recipe(tmp_path):
    """A recipe directory: codes in ``exp``, the manifests of two jobs in ``data``."""
    folder = tmp_path / "recipe"
    (folder / "exp" / "vq").mkdir(parents=True)
    with h5py.File(folder / "exp" / "vq" / "train-1.h5", "w") as file:
        for cut in CUTS:
            file.create_dataset(cut, data=codes_of(cut))
    rows = [row(cut) for cut in CUTS]
    manifest(folder, 1, rows[:2])
    manifest(folder, 2, rows[2:])
    return folder


@pytest.fixture
def data(tmp_path):
    wavs = {key: str(tmp_path / "x.wav") for key in UTTERANCES}
    (tmp_path / "x.wav").touch()
    speech = KaldiDir(wavs, dict.fromkeys(UTTERANCES, "s"), num_samples=UTTERANCES)
    write_kaldi_dir(tmp_path / "speech", speech)
    return tmp_path / "speech"


def run(recipe, tmp_path, *options: str) -> int:
    pattern = str(recipe / "data" / "with_codebook_indexes-*.jsonl.gz")
    return main(["--manifest", pattern, "--out", str(tmp_path / "codes"), *options])


def test_jobs_are_merged_and_ids_matched(recipe, data, tmp_path, capsys):
    assert run(recipe, tmp_path, "--data", str(data)) == 0
    assert "3 utterances" in capsys.readouterr().out
    found = kaldiio.load_scp(str(tmp_path / "codes" / "codes.scp"))
    for utterance, cut in zip(UTTERANCES, CUTS, strict=True):
        assert found[utterance].dtype == np.uint8
        np.testing.assert_array_equal(found[utterance], codes_of(cut))
    check_codes(tmp_path / "codes" / "codes.scp", data, values=True)
    assert run(recipe, tmp_path, "--data", str(data)) == 0  # takes the place of the first


def test_without_data_the_cuts_keep_their_ids(recipe, tmp_path):
    assert run(recipe, tmp_path) == 0
    assert set(kaldiio.load_scp(str(tmp_path / "codes" / "codes.scp"))) == set(CUTS)


def test_files_that_were_moved(recipe, data, tmp_path, capsys):
    (recipe / "exp" / "vq").rename(tmp_path / "elsewhere")
    assert run(recipe, tmp_path) == 1
    assert (
        "exp/vq/train-1.h5, which is not there; say with --storage_dir" in capsys.readouterr().err
    )
    assert run(recipe, tmp_path, "--storage_dir", str(tmp_path / "elsewhere")) == 0


def test_utterances_without_codes(recipe, data, tmp_path, capsys):
    (recipe / "data" / "with_codebook_indexes-train-2.jsonl.gz").unlink()
    assert run(recipe, tmp_path, "--data", str(data)) == 1
    said = capsys.readouterr().err
    assert "1 of 3 utterance(s) have no codes, e.g. sp0.9-103-1240-0000; 0 cut(s)" in said
    assert not (tmp_path / "codes").exists()
    assert run(recipe, tmp_path, "--data", str(data), "--allow_missing", "true") == 0
    assert "1 utterance(s) without codes" in capsys.readouterr().out


CUT = "103-1240-0000-0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"storage_type": "lilcom_chunky"}, r"jsonl.gz:1: cut 103-1240-0000-0 is stored as lilcom"),
        ({"storage_key": "other"}, "has no codes of cut 103-1240-0000-0"),
        ({"shape": [49, 4]}, r"has \(50, 4\) of uint8, its manifest says \(49, 4\)"),
        ({"shape": [49]}, r"not \(frames, codebooks\)"),
        ({"shape": None}, "codebook_indexes is incomplete"),
    ],
)
def test_bad_manifests(recipe, tmp_path, capsys, changes, message):
    manifest(recipe, 1, [row(CUT, **changes)])
    assert run(recipe, tmp_path) == 1
    assert_told(capsys, message)
    assert not (tmp_path / "codes").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": CUT, "custom": {"tokens": 1}}], "cut 103-1240-0000-0 has no codebook_indexes"),
        ([{"no": "cut"}], "no cut of a lhotse manifest"),
        ([row(CUT), row(CUT)], r"are both 103-1240-0000-0"),
        ([{**row(CUT), "duration": float("nan")}], "cut 103-1240-0000-0 lasts nan s"),
    ],
)
def test_bad_cuts(recipe, tmp_path, capsys, rows, message):
    manifest(recipe, 1, rows)
    assert run(recipe, tmp_path) == 1
    assert_told(capsys, message)


def test_damaged_files(recipe, tmp_path, capsys):
    path = recipe / "data" / "with_codebook_indexes-train-1.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert run(recipe, tmp_path) == 1
    assert_told(capsys, r"train-1\.jsonl\.gz:.*fetch the manifest again")
    path.write_bytes(whole)
    arrays = recipe / "exp" / "vq" / "train-1.h5"
    arrays.write_bytes(arrays.read_bytes()[:-200])
    assert run(recipe, tmp_path) == 1
    assert_told(capsys, r"train-1\.h5 is damaged or cut short at cut 103")


def test_codes_of_other_speech_and_other_quantisers(recipe, data, tmp_path, capsys):
    counts = data / "utt2num_samples"
    counts.write_text(counts.read_text().replace("32272", "35000"))
    assert run(recipe, tmp_path, "--data", str(data)) == 1
    assert_told(capsys, "103-1240-0001 has 100 frames, 35000 samples give 109")
    assert run(recipe, tmp_path, "--codebook_size", "16") == 1
    assert_told(capsys, r"has codes \d+ to \d+, allowed are 0 to 15")
    assert run(recipe / "exp", tmp_path) == 1
    assert_told(capsys, "cannot be read")


def test_without_h5py_it_is_said_what_to_install(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert run(recipe, tmp_path) == 1
    assert_told(capsys, "install h5py")


def assert_told(capsys, message: str) -> None:
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert re.search(message, said)


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("103-1240-0000-17", "103-1240-0000"),
        ("103-1240-0000-17_sp1.1", "103-1240-0000_sp1.1"),
        ("103-1240-0000_sp0.9-5", "103-1240-0000_sp0.9"),
        ("sp0.9-103-1240-0000", "103-1240-0000_sp0.9"),
        ("sp1.0-103-1240-0000", "103-1240-0000"),
        ("BAC009S0002W0122", "BAC009S0002W0122"),
    ],
)
def test_ids_of_all_versions(name, common):
    assert common_id(name) == common
