from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from espnet_kd.errors import ConfigError, DataDirError, MissingDependencyError
from s3prl_upstreams.scoring.predictions import (
    MEDIANS,
    THRESHOLDS,
    best_setting,
    format_table,
    read_frame_shift,
    score_predictions,
    turns_from_probabilities,
)
from s3prl_upstreams.scoring.rttm import Turn, read_rttm, write_rttm

h5py = pytest.importorskip("h5py", reason="S3PRL's predictions are HDF5 files")


def write_predictions(folder, predictions):
    folder.mkdir(exist_ok=True)
    for name, values in predictions.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("T_hat", data=np.asarray(values, dtype=np.float32))


def smooth_noise(rng, frames, speakers=2):
    """Probabilities that stay above and below a threshold for some frames."""
    noise = rng.normal(size=(frames + 8, speakers))
    walk = sum(noise[i : i + frames] for i in range(8)) / 2
    return (1 / (1 + np.exp(-walk))).astype(np.float32)


def test_turns_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.6], [0.5, 0.6], [0.2, 0.2], [0.8, 0.9]])
    assert turns_from_probabilities(probabilities, 320) == [
        Turn("0", 0.0, 0.04),  # 0.5 is not above 0.5
        Turn("0", 0.08, 0.1),
        Turn("1", 0.02, 0.06),
        Turn("1", 0.08, 0.1),
    ]
    assert turns_from_probabilities(probabilities, 320, threshold=0.95) == []
    halves = turns_from_probabilities(probabilities[:2, :1], 320, subsampling=10)
    assert halves == [Turn("0", 0.0, 0.4)]


def test_the_median_filter_sees_silence_beyond_the_ends():
    one = np.array([[1.0], [0.0], [1.0], [1.0], [0.0], [0.0], [1.0]])
    assert turns_from_probabilities(one, 16000, median=3) == [Turn("0", 1.0, 4.0)]
    assert turns_from_probabilities(np.ones((1, 1)), 16000, median=3) == []


def test_times_are_rounded_as_in_s3prls_files():
    (turn,) = turns_from_probabilities(np.array([[0.0], [1.0], [1.0]]), 256)
    assert (turn.start, turn.end) == (0.02, pytest.approx(0.05))  # 0.016 and 0.032


@pytest.mark.parametrize(
    ("options", "message"),
    [({"median": 2}, "odd length"), ({"median": 0}, "1 or more"), ({"subsampling": 0}, "1 or")],
)
def test_impossible_lengths(options, message):
    with pytest.raises(ConfigError, match=message):
        turns_from_probabilities(np.ones((3, 1)), 320, **options)


@pytest.fixture(scope="module")
def made_by_s3prl(tmp_path_factory):
    """Predictions and S3PRL's own RTTM file for each setting."""
    try:
        spec = importlib.util.find_spec("s3prl.downstream.diarization.make_rttm")
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        pytest.skip("S3PRL is not installed")
    folder = tmp_path_factory.mktemp("s3prl")
    rng = np.random.default_rng(5)
    values = {f"r{i}": smooth_noise(rng, 400) for i in range(3)}
    values["r1"][10] = 0.3, 0.7  # exactly at a threshold, in single precision
    write_predictions(folder / "predictions", values)
    listed = "".join(f"{path}\n" for path in (folder / "predictions").glob("*.h5"))
    (folder / "list").write_text(listed)
    for threshold, median in ((0.3, 1), (0.5, 11), (0.7, 1)):
        out = str(folder / f"{threshold}_{median}.rttm")
        words = ["make_rttm", str(folder / "list"), out, "--frame_shift", "320"]
        words += ["--threshold", str(threshold), "--median", str(median)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return folder, values


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # S3PRL leaves its files open
@pytest.mark.parametrize(("threshold", "median"), [(0.3, 1), (0.5, 11), (0.7, 1)])
def test_the_turns_are_s3prls(made_by_s3prl, threshold, median):
    folder, values = made_by_s3prl
    theirs = read_rttm(folder / f"{threshold}_{median}.rttm")
    assert sum(map(len, theirs.values())) > 20
    for name, probabilities in values.items():
        ours = turns_from_probabilities(probabilities, 320, threshold=threshold, median=median)
        renamed = [Turn(f"{name}_{turn.speaker}", turn.start, turn.end) for turn in ours]
        assert renamed == theirs[name]


def test_the_lowest_of_ten_rates(tmp_path):
    rng = np.random.default_rng(0)
    values = {name: smooth_noise(rng, 300) for name in ("x", "y")}
    write_predictions(tmp_path / "predictions", values)
    truth = {
        name: turns_from_probabilities(value, 320, threshold=0.6, median=11)
        for name, value in values.items()
    }
    write_rttm(tmp_path / "rttm", truth)
    table = score_predictions(tmp_path / "predictions", tmp_path / "rttm", 320)
    assert [(row.median, row.threshold) for row in table] == [
        (median, threshold) for median in MEDIANS for threshold in THRESHOLDS
    ]
    best = best_setting(table)
    assert (best.threshold, best.median, best.rate) == (0.6, 11, pytest.approx(0.0, abs=1e-9))
    assert sorted(row.rate for row in table)[1] > 1.0
    assert format_table(table).splitlines()[10].startswith("|0.6|11|0.00|0.00|0.00|0.00|")


def test_a_silent_prediction_is_all_missed(tmp_path):
    write_predictions(tmp_path / "predictions", {"x": np.zeros((9, 2))})
    write_rttm(tmp_path / "rttm", {"x": [Turn("a", 0.0, 1.0)]})
    (row,) = score_predictions(
        tmp_path / "predictions", tmp_path / "rttm", 320, thresholds=[0.5], medians=[1]
    )
    assert (row.rate, row.errors.missed) == (100.0, 1.0)


def test_recordings_must_be_the_same(tmp_path):
    write_predictions(tmp_path / "predictions", {"x": np.zeros((9, 2)), "z": np.zeros((9, 2))})
    write_rttm(tmp_path / "rttm", {"x": [Turn("a", 0, 1)], "y": [Turn("a", 0, 1)]})
    with pytest.raises(DataDirError, match=r"1 without a prediction \['y'\], 1 without .*'z'"):
        score_predictions(tmp_path / "predictions", tmp_path / "rttm", 320)
    with pytest.raises(DataDirError, match="holds no predictions"):
        score_predictions(tmp_path / "nowhere", tmp_path / "rttm", 320)


@pytest.mark.parametrize("values", [np.ones(3), np.full((3, 2), 1.5), np.full((3, 2), np.nan)])
def test_predictions_that_are_none(values, tmp_path):
    write_predictions(tmp_path / "predictions", {"x": values})
    write_rttm(tmp_path / "rttm", {"x": [Turn("a", 0, 1)]})
    with pytest.raises(DataDirError, match=r"x\.h5: T_hat must be probabilities"):
        score_predictions(tmp_path / "predictions", tmp_path / "rttm", 320)


def test_files_that_are_no_predictions(tmp_path):
    (tmp_path / "x.h5").write_text("no HDF5")
    write_rttm(tmp_path / "rttm", {"x": [Turn("a", 0, 1)]})
    with pytest.raises(DataDirError, match=r"x\.h5 holds no readable dataset T_hat"):
        score_predictions(tmp_path, tmp_path / "rttm", 320)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("other", data=[1.0])
    with pytest.raises(DataDirError, match=r"x\.h5 holds no readable dataset T_hat"):
        score_predictions(tmp_path, tmp_path / "rttm", 320)


def test_without_h5py_the_remedy_is_named(tmp_path, monkeypatch):
    write_predictions(tmp_path, {"x": np.zeros((9, 2))})
    write_rttm(tmp_path / "rttm", {"x": [Turn("a", 0, 1)]})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        score_predictions(tmp_path, tmp_path / "rttm", 320)


def test_the_frame_shift_of_an_experiment(tmp_path):
    with pytest.raises(DataDirError, match="frame_shift"):
        read_frame_shift(tmp_path)
    (tmp_path / "frame_shift").write_text("320\n")  # as S3PRL prints it
    assert read_frame_shift(tmp_path) == 320
