"""Whole corpora from which something is taken: the check names it before anything else runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s3prl_upstreams.check_data import check_task
from s3prl_upstreams.tasks import TASKS, find_task
from tests.unit.data.stand_in_digits import make_superb, stand_in_digits


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_superb(stand_in_digits(), tmp_path_factory.mktemp("superb"))


@contextmanager
def without(path: Path, hidden: Path) -> Iterator[None]:
    path.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(path)


def problem(task: str, data: Path) -> str:
    found = find_task(task)
    assert found is not None
    return check_task(found, str(data)).problem


def test_whole_corpora_are_ready(data):
    assert {task.name: check_task(task, str(data), audio=True).problem for task in TASKS} == {
        task.name: "" for task in TASKS
    }


TRUTH = "quesst14Database/scoring/groundtruth_quesst14"
GAPS = [
    ("pr", "LibriSpeech/train-clean-100", "LibriSpeech lacks train-clean-100"),
    ("pr", "LibriSpeech/dev-clean", "LibriSpeech lacks dev-clean"),
    ("pr", "LibriSpeech/test-clean", "LibriSpeech lacks test-clean"),
    ("asr", "LibriSpeech/dev-clean", "LibriSpeech lacks dev-clean"),
    ("asr", "LibriSpeech/test-clean", "LibriSpeech lacks test-clean"),
    ("ks", "speech_commands/_background_noise_", "no folder with _background_noise_/*.wav in it"),
    ("ks", "speech_commands_test/_silence_", "speech_commands_test lacks _silence_"),
    ("qbe", "quesst14Database/Audio", "quesst14Database lacks Audio"),
    ("qbe", "quesst14Database/dev_queries", "quesst14Database lacks dev_queries"),
    ("qbe", "quesst14Database/eval_queries", "quesst14Database lacks eval_queries"),
    ("qbe", f"{TRUTH}_dev", "lacks scoring/groundtruth_quesst14_dev/*.rttm"),
    ("qbe", f"{TRUTH}_eval/quesst14_eval.rttm", "lacks scoring/groundtruth_quesst14_eval/*.rttm"),
    *(
        (
            "qbe",
            f"quesst14Database/scoring/language_key_{name}.lst",
            f"quesst14Database lacks scoring/language_key_{name}.lst",
        )
        for name in ("utterances", "dev", "eval")
    ),
    ("sid", "VoxCeleb1/dev/wav", "datarc.file_path: no folder with dev/wav"),
    ("sid", "VoxCeleb1/test", "8 of 28 recordings that"),
    ("asv", "VoxCeleb1_ASV/veri_test.txt", "or veri_test.txt in"),
    *(
        ("sd", f"diarization/{split}/{table}", f"diarization/{split} lacks {table}")
        for split in ("train", "dev", "test")
        for table in ("wav.scp", "segments", "utt2spk", "spk2utt", "reco2dur")
    ),
    *(
        ("ic", f"fluent_speech_commands_dataset/{table}", f"lacks {table}")
        for table in ("data/train_data.csv", "data/valid_data.csv", "data/test_data.csv", "wavs")
    ),
    ("sf", "SNIPS/valid", "SNIPS lacks valid"),
    ("er", "IEMOCAP/Session3", "IEMOCAP lacks Session3"),
]


@pytest.mark.parametrize(("task", "gone", "said"), GAPS, ids=[f"{t}-{g}" for t, g, _ in GAPS])
def test_what_is_gone_is_named(task, gone, said, data, tmp_path):
    with without(data / gone, tmp_path / "hidden"):
        assert said in problem(task, data)


@pytest.mark.parametrize(
    ("task", "recording", "count"),
    [
        ("pr", "LibriSpeech/dev-clean/*/*/*.flac", "1 of 8"),
        ("pr", "LibriSpeech/test-clean/*/*/*.flac", "1 of 8"),
        ("qbe", "quesst14Database/Audio/*.wav", "1 of 6"),
        ("qbe", "quesst14Database/eval_queries/*.wav", "1 of 3"),
        ("sid", "VoxCeleb1/dev/wav/*/*/*.wav", "1 of 28"),
        ("sid", "VoxCeleb1/test/wav/*/*/*.wav", "1 of 28"),
        ("asv", "VoxCeleb1_ASV/test/wav/*/*/*.wav", "1 of 4"),
        ("sd", "diarization/wav/dev/*.wav", "1 of 2"),
        ("ic", "fluent_speech_commands_dataset/wavs/**/*.wav", "1 of "),
        ("sf", "SNIPS/train/*.wav", "1 of 10"),
        ("sf", "SNIPS/valid/*.wav", "1 of "),
    ],
)
def test_a_recording_that_a_list_names(task, recording, count, data, tmp_path):
    path = min(data.glob(recording))
    with without(path, tmp_path / "hidden"):
        said = problem(task, data)
    assert "1 problem(s)" in said
    assert f"{count}" in said
    assert "recordings that" in said
    assert path.stem in said
    assert "Restore them, or remove their lines" in said


def test_a_whole_test_speaker_of_the_trials(data, tmp_path):
    speaker = min((data / "VoxCeleb1_ASV/test/wav").iterdir())
    with without(speaker, tmp_path / "hidden"):
        assert f": {speaker.name}/" in problem("asv", data)
