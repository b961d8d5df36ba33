"""Hugging Face datasets, read as bytes; without the package only its absence is told."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.hf_source import DatasetOptions, DatasetSource
from espnet_kd.data.label_job import LabelJob, splits_of
from espnet_kd.errors import ConfigError, DataDirError, MissingDependencyError
from tests.unit.whisper import tiny
from tests.unit.whisper.labelled import contents, job_of, kill_after, rows, run, stop_after

RATE = 16000


def wave(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE)).astype(np.float32)


def flac(seconds: float, seed: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave(seconds, seed), RATE, format="FLAC")
    return stream.getvalue()


@pytest.fixture(scope="module")
def datasets():
    """The package."""
    reason = "the package datasets (extra datasets) is not installed"
    return pytest.importorskip("datasets", reason=reason)


@pytest.fixture(scope="module")
def saved(datasets, tmp_path_factory):
    """A saved dataset with two splits; its rows are not sorted by speaker."""
    columns = {
        "audio": [{"bytes": flac(0.3, n), "path": f"{n}.flac"} for n in range(5)],
        "sentence": ["one", "two", "three", "four", None],
        "id": [f"row {n}" for n in range(5)],
        "speaker": ["b", "a", "b", "a", "b"],
    }
    audio = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features(
        {"audio": audio, **dict.fromkeys(("sentence", "id", "speaker"), datasets.Value("string"))}
    )
    split = datasets.Dataset.from_dict(columns, features=features)
    split = split.cast_column("audio", datasets.Audio())
    folder = tmp_path_factory.mktemp("hf") / "corpus"
    datasets.DatasetDict({"train": split, "test": split.select([0])}).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A multilingual folder with 1 s of context."""
    return tiny.tiny_whisper(tmp_path_factory.mktemp("teacher") / "tiny", max_source_positions=50)


def source_of(folder, **options):
    return DatasetSource(
        DatasetOptions(dataset_name=str(folder), **options), AudioPolicy(rate_policy="resample")
    )


def clips_of(source):
    told = {}
    return list(source.clips(told.__setitem__)), told


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_clips(saved, streaming):
    source = source_of(saved, streaming=streaming)
    clips, told = clips_of(source)
    assert told == {}
    assert [clip.id for clip in clips] == [f"row_{n}" for n in range(5)]
    assert [clip.text for clip in clips] == ["one", "two", "three", "four", None]
    assert {clip.samples for clip in clips} == {4800}
    for number, clip in enumerate(clips):
        np.testing.assert_allclose(source.read(clip), wave(0.3, number), atol=1e-4)
        assert source.original(clip) is None
    assert source.total == (None if streaming else 5)


def test_speakers_come_together(saved):
    clips, _ = clips_of(source_of(saved, speaker_id_column_name="speaker"))
    assert [clip.id for clip in clips] == ["row_1", "row_3", "row_0", "row_2", "row_4"]
    assert [clip.speaker for clip in clips] == ["a", "a", "b", "b", "b"]


def test_fewer_rows_and_no_ids(saved, datasets, tmp_path):
    clips, _ = clips_of(source_of(saved, max_samples_per_split=2))
    assert len(clips) == 2
    plain = datasets.load_from_disk(str(saved))["train"].remove_columns(["id", "sentence"])
    plain.save_to_disk(str(tmp_path / "plain"))
    clips, _ = clips_of(source_of(tmp_path / "plain"))
    assert [clip.id for clip in clips] == [f"plain-{n}" for n in range(5)]
    assert {clip.text for clip in clips} == {None}


def test_columns_and_splits_that_are_not_there(saved):
    with pytest.raises(ConfigError, match="text_column_name is 'x', which the dataset lacks") as e:
        source_of(saved, text_column_name="x", audio_column_name="sound")
    assert len(e.value.problems) == 2
    with pytest.raises(DataDirError, match="split dev, cannot be opened"):
        source_of(saved, dataset_split_name="dev")
    with pytest.raises(DataDirError, match="cannot be opened"):
        source_of(saved / "nowhere")


def test_bad_rows_are_told(datasets, tmp_path):
    rows_ = {
        "audio": [{"bytes": flac(0.3, 0), "path": None}, {"bytes": b"no sound", "path": "x.wav"},
                  {"bytes": None, "path": None}, {"bytes": flac(0.3, 1), "path": None}],
        "id": ["good", "text", "none", "good"],
    }  # fmt: skip
    datasets.Dataset.from_dict(rows_).save_to_disk(str(tmp_path / "bad"))
    clips, told = clips_of(source_of(tmp_path / "bad"))
    assert [clip.id for clip in clips] == ["good"]
    assert "row 1 (x.wav): not readable" in told["text"]
    assert "has no audio" in told["none"]
    assert "id good was there before" in told["good"]


def test_decoded_rows_are_read_and_resampled(datasets, tmp_path):
    rows_ = {"audio": [{"array": wave(0.3, 0)[::2].tolist(), "sampling_rate": 8000}]}
    datasets.Dataset.from_dict(rows_).save_to_disk(str(tmp_path / "arrays"))
    source = source_of(tmp_path / "arrays")
    (clip,), _ = clips_of(source)
    assert clip.samples == 4800
    assert len(source.read(clip)) == 4800


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_files(datasets, tmp_path, monkeypatch, streaming):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        soundfile.write(str(folder / f"{number}.wav"), wave(0.2, number), RATE)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = source_of(folder, streaming=streaming)
    clips, told = clips_of(source)
    assert told == {}
    assert [clip.samples for clip in clips] == [3200] * 3
    np.testing.assert_allclose(source.read(clips[1]), wave(0.2, 1), atol=1e-4)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_tables(datasets, saved, tmp_path, monkeypatch, streaming):
    """As datasets lie on the hub: parquet, with the sound inside."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    train = datasets.load_from_disk(str(saved))["train"]
    train.to_parquet(str(tmp_path / "tables" / "data" / "train-0.parquet"))
    source = source_of(tmp_path / "tables", streaming=streaming, id_column_name="speaker")
    clips, told = clips_of(source)
    assert [clip.id for clip in clips] == ["b", "a"]
    assert set(told) == {"a", "b"}  # three more rows with their ids
    np.testing.assert_allclose(source.read(clips[1]), wave(0.3, 1), atol=1e-4)


def test_labels_of_a_dataset_and_of_its_stream_agree(saved, teacher, tmp_path):
    for streaming in (False, True):
        data = DatasetOptions(dataset_name=str(saved), streaming=streaming)
        run(job_of(teacher, saved, tmp_path / f"labels{streaming}", data=data))
    assert contents(tmp_path / "labelsFalse") == contents(tmp_path / "labelsTrue")
    labels = rows(tmp_path / "labelsTrue")
    assert [label["source_ids"] for label in labels] == [
        ["row_0", "row_1", "row_2"], ["row_3", "row_4"],
    ]  # fmt: skip
    assert [label["reference"] for label in labels] == ["one two three", None]


def test_a_stream_that_was_killed_goes_on(saved, teacher, tmp_path, monkeypatch):
    data = DatasetOptions(dataset_name=str(saved), streaming=True)
    options = {"data": data, "plan": {"concatenate_audio": False}}
    run(job_of(teacher, saved, tmp_path / "whole", **options))
    job = job_of(teacher, saved, tmp_path / "killed", **options)
    kill_after(monkeypatch, 2, job)
    with monkeypatch.context() as patch:
        decoded = stop_after(patch, 100)
        run(job)
    assert decoded == [1]  # of three batches of at most two rows
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_splits_have_folders_of_their_own(saved, teacher, tmp_path):
    data = DatasetOptions(dataset_name=str(saved), dataset_split_name="train+test")
    jobs = splits_of(job_of(teacher, saved, tmp_path, data=data))
    assert [job.folder.name for job in jobs] == ["train", "test"]
    assert [job.data.dataset_split_name for job in jobs] == ["train", "test"]
    with pytest.raises(DataDirError, match="equal"):
        splits_of(job_of(teacher, saved, tmp_path, data=DatasetOptions(
            dataset_name="x", dataset_split_name="train+train")))  # fmt: skip


def several(name: str, **options: str) -> list[LabelJob]:
    data = DatasetOptions(dataset_name=name, **options)
    return splits_of(job_of(Path("teacher"), Path("speech"), Path("out"), data=data))


def test_several_data_sets_have_folders_of_their_own(tmp_path):
    jobs = several(
        "org/a+b", dataset_config_name="hi+ur", dataset_split_name="train+dev",
        text_column_name="text+sentence",
    )  # fmt: skip
    assert [job.output_dir for job in jobs] == ["out/a-train", "out/b-dev"]
    assert [
        (d.dataset_name, d.dataset_config_name, d.dataset_split_name, d.text_column_name)
        for d in (job.data for job in jobs)
    ] == [("org/a", "hi", "train", "text"), ("b", "ur", "dev", "sentence")]
    plain = [job.data for job in several("a+b")]
    assert [(d.dataset_config_name, d.text_column_name) for d in plain] == [(None, None)] * 2
    assert [d.dataset_split_name for d in plain] == ["train"] * 2
    folder = tmp_path / "c+d"
    folder.mkdir()
    (job,) = several(str(folder))
    assert job.data.dataset_name == str(folder)


def test_several_data_sets_need_as_much_of_each():
    with pytest.raises(ConfigError, match=r"3 splits for 2 data set\(s\) a\+b"):
        several("a+b", dataset_split_name="x+y+z")
    with pytest.raises(DataDirError, match="two of them would be labelled in a-train"):
        several("x/a+y/a")


def test_without_the_package_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match="uv pip install 'datasets>=3,<5'"):
        source_of(tmp_path)
