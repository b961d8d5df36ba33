"""Tables and headers are looked at before a run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.errors import DataDirError
from espnet_kd.tasks import data_check
from espnet_kd.tasks.codes_check import check_code_streams
from espnet_kd.tasks.data_check import check_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(30):
        soundfile.write(tmp_path / f"{number:02d}.wav", np.zeros(500, "float32"), 16000)
    write(tmp_path / "wav.scp", {f"u{i:02d}": f"{tmp_path}/{i:02d}.wav" for i in range(30)})
    write(tmp_path / "shape", {f"u{i:02d}": "500" for i in range(30)})
    return tmp_path


def write(path: Path, rows: dict[str, str]) -> None:
    path.write_text("".join(f"{key} {value}\n" for key, value in rows.items()))


def options(folder: Path, **changes: object) -> Namespace:
    streams, shapes = [(str(folder / "wav.scp"), "speech", "sound")], [str(folder / "shape")]
    values = {
        "train_data_path_and_name_and_type": streams,
        "valid_data_path_and_name_and_type": streams,
        "train_shape_file": shapes,
        "valid_shape_file": shapes,
    }
    return Namespace(**{**values, **changes})


def test_good_data_passes_in_any_order(folder: Path) -> None:
    check_data(options(folder), AudioPolicy())
    lines = (folder / "wav.scp").read_text().splitlines()
    (folder / "wav.scp").write_text("\n".join(reversed(lines)))
    check_data(options(folder), AudioPolicy())


def test_many_problems_are_counted_and_cut(folder: Path) -> None:
    with pytest.raises(DataDirError) as caught:
        check_data(options(folder), AudioPolicy(min_samples=501))
    text = str(caught.value)
    assert "60 problem(s)" in text
    assert "... and 40 more" in text
    assert text.count("\n  - ") == 20


def test_missing_lists_and_options(folder: Path) -> None:
    changes = {
        "train_shape_file": [],
        "valid_data_path_and_name_and_type": [("gone", "speech", "sound")],
    }
    with pytest.raises(DataDirError) as caught:
        check_data(options(folder, **changes), AudioPolicy())
    assert "no --train_shape_file is given" in str(caught.value)
    assert "gone: no such file; run the stage" in str(caught.value)


def test_large_lists_are_sampled_evenly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(data_check, "MAX_HEADERS", 10)
    monkeypatch.setattr(
        data_check, "inspect_audio", lambda path, utt, policy: looked_at.append(utt)
    )
    check_data(options(folder), AudioPolicy())
    assert sorted(set(looked_at)) == [f"u{i:02d}" for i in range(0, 30, 3)]


@pytest.mark.parametrize("order", [("shape", "text_shape"), ("text_shape", "shape")])
def test_codes_are_measured_by_the_shapes_of_the_speech(
    folder: Path, order: tuple[str, str]
) -> None:
    np.save(folder / "u.npy", np.zeros((1, 2), np.uint8))
    write(folder / "codes.scp", {f"u{i:02d}": f"{folder}/u.npy" for i in range(30)})
    write(folder / "text_shape", {f"u{i:02d}": "7,5000" for i in range(30)})
    streams = [(str(folder / "wav.scp"), "speech", "sound")]
    streams.append((str(folder / "codes.scp"), "codes", "npy"))
    changes = {}
    for part in ("train", "valid"):
        changes[f"{part}_data_path_and_name_and_type"] = streams
        changes[f"{part}_shape_file"] = [str(folder / name) for name in order]
    check_code_streams(options(folder, **changes), num_codebooks=2, codebook_size=16)
    write(folder / "shape", {f"u{i:02d}": "16000" for i in range(30)})
    with pytest.raises(DataDirError, match="u00 has 1 frames, 16000 samples give 49"):
        check_code_streams(options(folder, **changes), num_codebooks=2, codebook_size=16)


def test_lengths_that_are_no_numbers(folder: Path) -> None:
    rows = {f"u{i:02d}": "500,1" for i in range(30)}
    write(folder / "shape", rows)
    check_data(options(folder), AudioPolicy())
    write(folder / "shape", {**rows, "u03": "xx"})
    with pytest.raises(DataDirError, match=r"shape:4: u03 has 'xx', no number of samples"):
        check_data(options(folder), AudioPolicy())
