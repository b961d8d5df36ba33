"""Labelling from end to end with a tiny teacher; a run that was killed ends as an unbroken one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch.multiprocessing import ProcessExitedException

from espnet_kd.bin import label_processes, processes
from espnet_kd.bin.processes import Machine
from espnet_kd.bin.whisper_pseudo_label import main
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import read_kaldi_dir
from espnet_kd.data.label_merge import merge_shards
from espnet_kd.data.label_run import finished_segments, label_share
from espnet_kd.data.pseudo_labels import read_labels
from espnet_kd.errors import ConfigError, DataDirError, KDError, WhisperError
from espnet_kd.whisper.load import save_whisper
from espnet_kd.whisper.specials import SpecialIds
from tests.unit.whisper import tiny
from tests.unit.whisper.decoded import stopping
from tests.unit.whisper.labelled import (
    contents,
    job_of,
    kaldi_dir,
    kill_after,
    rows,
    run,
    stop_after,
)

PACKED = [["a-0", "a-1"], ["a-2", "a-3"], ["a-4", "a-5"], ["b-6", "b-7"], ["b-8"]]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A multilingual folder with 1 s of context."""
    return tiny.tiny_whisper(tmp_path_factory.mktemp("teacher") / "tiny", max_source_positions=50)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Nine utterances of two speakers."""
    return kaldi_dir(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def whole(teacher, data, tmp_path_factory) -> Path:
    """An unbroken run."""
    folder = tmp_path_factory.mktemp("whole") / "labels"
    run(job_of(teacher, data, folder))
    return folder


def test_segments_hold_all_utterances_of_a_speaker_in_order(whole):
    labels = rows(whole)
    assert [label["source_ids"] for label in labels] == PACKED
    assert [label["id"] for label in labels] == ["a-0+1", "a-2+1", "a-4+1", "b-6+1", "b-8"]
    assert [label["condition_on_prev"] for label in labels] == [0, 1, 1, 0, 1]
    assert [label["duration"] for label in labels] == [0.9, 0.7, 0.5, 0.9, 0.2]
    assert labels[0]["reference"] == "text of a-0 text of a-1"
    assert {label["language"] for label in labels} == {"en"}


def test_labels_say_what_was_decoded(whole, tokenizer):
    specials = SpecialIds.of(tokenizer)
    for label in read_labels(whole):
        assert label.token_ids[:4] == specials.prefix("en")
        assert len(label.token_ids) == 10
        assert label.truncated
        assert "truncated" in label.flags
        assert label.num_tokens == 6
        assert label.whisper_transcript.startswith("<|startoftranscript|><|en|><|transcribe|>")
        assert "<|" not in label.text
        assert label.avg_logprob < 0
        assert label.mean_entropy > 0
        assert label.prompt_ids is None  # a cut label is no prompt


def test_the_folder_is_a_good_kaldi_folder(whole, data):
    assert check_kaldi_dir(whole) == []
    found = read_kaldi_dir(whole)
    assert found.utt2spk["a-2+1"] == "a"
    parts = [soundfile.read(data.parent / f"{name}.wav")[0] for name in PACKED[1]]
    joined, _ = soundfile.read(found.wav_scp["a-2+1"])
    np.testing.assert_array_equal(joined, np.concatenate(parts))
    # What one file holds as it is is not copied.
    assert found.wav_scp["b-8"] == str(data.parent / "b-8.wav")


def test_nothing_intermediate_is_left(whole):
    names = {path.name for path in whole.iterdir()} - {".running"}
    assert names == {
        "audio", "labels.jsonl", "options.json", "skipped.jsonl", "spk2utt", "summary.json",
        "utt2num_samples", "utt2spk", "wav.scp",
    }  # fmt: skip
    assert (whole / "skipped.jsonl").read_text() == ""


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_killed_run_goes_on_without_doing_work_twice(
    teacher, data, whole, tmp_path, monkeypatch, batches
):
    job = job_of(teacher, data, tmp_path / "labels")
    kill_after(monkeypatch, batches, job)
    assert not (tmp_path / "labels" / "labels.jsonl").exists()
    with monkeypatch.context() as patch:
        decoded = stop_after(patch, 100)
        run(job)
    assert len(decoded) == 3 - batches
    assert contents(tmp_path / "labels") == contents(whole)


def test_a_torn_line_is_done_again_and_nothing_else(teacher, data, whole, tmp_path, monkeypatch):
    job = job_of(teacher, data, tmp_path / "labels")
    kill_after(monkeypatch, 2, job)
    shard = tmp_path / "labels" / "labels.00.jsonl"
    lines = shard.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    shard.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    with monkeypatch.context() as patch:
        decoded = stop_after(patch, 100)
        run(job)
    assert decoded == [2, 1]  # the torn batch as it was, so that its numbers are the same
    assert contents(tmp_path / "labels") == contents(whole)


def test_damage_in_the_middle_of_a_shard_is_named(teacher, data, tmp_path, monkeypatch):
    job = job_of(teacher, data, tmp_path / "labels")
    kill_after(monkeypatch, 2, job)
    shard = tmp_path / "labels" / "labels.00.jsonl"
    lines = shard.read_bytes().splitlines(keepends=True)
    shard.write_bytes(lines[0] + b"{oops\n" + b"".join(lines[2:]))
    with pytest.raises(DataDirError, match=r"labels\.00\.jsonl:2: is damaged"):
        run(job)


def test_several_processes_give_what_one_gives(teacher, data, whole, tmp_path):
    job = job_of(teacher, data, tmp_path / "labels")
    job.folder.mkdir()
    bundle, source = job.prepare(), job.source()
    label_processes.make_plan(job, source, bundle)
    labeller = job.labeller(bundle, source, "cpu")
    for rank in (1, 0):
        planned = label_processes.planned_segments(job, labeller, rank)
        label_share(labeller, planned, set(), rank=rank, processes=2)
        assert (job.folder / f"labels.{rank:02d}.jsonl").is_file()
    assert finished_segments(job.folder) == {label["id"] for label in rows(whole)}
    merge_shards(job.folder, bundle.specials)
    assert contents(job.folder) == contents(whole)


def test_processes_share_the_work(teacher, data, whole, tmp_path, monkeypatch):
    """Forked here, because a spawned process imports everything anew."""
    monkeypatch.setattr(processes, "START_METHOD", "fork")
    run(job_of(teacher, data, tmp_path / "labels"), nj=2)
    assert contents(tmp_path / "labels") == contents(whole)


def test_a_process_that_fails_stops_the_run_which_can_go_on(
    teacher, data, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(processes, "START_METHOD", "fork")
    job = job_of(teacher, data, tmp_path / "labels")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)  # in each process: the first has two batches
        with pytest.raises(ProcessExitedException):
            run(job, nj=2)
    assert not (tmp_path / "labels" / "labels.jsonl").exists()
    run(job)
    assert contents(tmp_path / "labels") == contents(whole)


def test_a_finished_folder_is_left_alone(teacher, data, whole, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(label_processes.LabelJob, "prepare", None)
    summary = run(job_of(teacher, data, whole))
    assert summary.segments == 5
    assert contents(whole) == before


def test_other_options_need_another_folder(teacher, data, whole):
    job = job_of(teacher, data, whole, language="hi", batch_size=3)
    with pytest.raises(ConfigError, match="begun with other options") as caught:
        run(job)
    assert caught.value.problems == [
        "batch_size was 2 and is now 3",
        "label.language was 'en' and is now 'hi'",
    ]


def test_a_teacher_that_was_trained_again_needs_another_folder(data, tmp_path):
    teacher = tiny.tiny_whisper(tmp_path / "teacher", max_source_positions=50)
    job = job_of(teacher, data, tmp_path / "labels")
    job.folder.mkdir()
    job.remember()
    job.compare()
    tiny.tiny_whisper(teacher, max_source_positions=50, seed=1)
    with pytest.raises(ConfigError, match="teacher has other weights than then"):
        job.compare()
    (teacher / "model.safetensors").unlink()  # no longer needed where all is labelled
    job.compare()


def test_speech_that_was_prepared_again_needs_another_folder(teacher, tmp_path):
    speech = kaldi_dir(tmp_path / "speech")
    job = job_of(teacher, speech, tmp_path / "labels")
    job.folder.mkdir()
    job.remember()
    job.compare()
    lines = (speech / "text").read_text().splitlines(keepends=True)
    (speech / "text").write_text("".join(lines[:-1]) + lines[-1].rstrip() + " indeed\n")
    with pytest.raises(ConfigError, match=r"data has other wav\.scp, segments, utt2spk or text"):
        job.compare()
    (speech / "text").unlink()
    (speech / "wav.scp").unlink()
    (speech / "utt2spk").unlink()  # no longer needed where all is labelled
    job.compare()


def test_totals_are_told(whole, teacher, data):
    text = str(run(job_of(teacher, data, whole)))
    assert text.startswith("5 segments (0.00 h, 9 utterances, 30 tokens): ")
    assert "5 truncated" in text
    assert text.endswith("0 skipped")


def test_references_are_not_needed(teacher, tmp_path):
    run(job_of(teacher, kaldi_dir(tmp_path / "speech", text=False), tmp_path / "labels"))
    assert {label["reference"] for label in rows(tmp_path / "labels")} == {None}


def test_without_joining_each_utterance_is_a_segment(teacher, data, tmp_path):
    run(job_of(teacher, data, tmp_path / "labels", plan={"concatenate_audio": False}))
    labels = rows(tmp_path / "labels")
    assert [label["id"] for label in labels] == [name for names in PACKED for name in names]
    assert {label["condition_on_prev"] for label in labels} == {0}
    assert not (tmp_path / "labels" / "audio").exists()


def test_published_names_and_borders(teacher, data, tmp_path):
    plan = {"segment_ids": "published", "preprocessing_batch_size": 3}
    run(job_of(teacher, data, tmp_path / "labels", plan=plan))
    labels = rows(tmp_path / "labels")
    assert labels[0]["id"] == "data-a-0"
    assert [label["source_ids"] for label in labels] == [
        ["a-0", "a-1"], ["a-2"], ["a-3", "a-4", "a-5"], ["b-6", "b-7"], ["b-8"],
    ]  # fmt: skip
    assert [label["condition_on_prev"] for label in labels] == [0, 1, 0, 0, 1]


def test_ids_instead_of_text(teacher, data, tmp_path):
    run(job_of(teacher, data, tmp_path / "labels", decode_token_ids=False))
    for label in read_labels(tmp_path / "labels"):
        assert label.whisper_transcript == label.token_ids


def test_cut_labels_can_be_dropped(teacher, data, tmp_path):
    with pytest.raises(DataDirError, match="not one segment could be labelled") as caught:
        run(job_of(teacher, data, tmp_path / "labels", truncated="drop"))
    assert "label cut at 10 tokens" in str(caught.value)


def test_language_is_detected_where_none_is_given(teacher, data, tmp_path, tokenizer):
    run(job_of(teacher, data, tmp_path / "labels", language=None))
    languages = SpecialIds.of(tokenizer).languages
    for label in rows(tmp_path / "labels"):
        assert label["token_ids"][1] == languages[label["language"]]


@pytest.fixture(scope="module")
def prompted(data, tmp_path_factory) -> Path:
    """A run of a teacher whose labels end."""
    folder = tmp_path_factory.mktemp("stops")
    save_whisper(stopping(), folder / "teacher")
    run(job_of(folder / "teacher", data, folder / "labels"))
    return folder


def test_prompts_are_the_labels_before(prompted, tokenizer):
    specials = SpecialIds.of(tokenizer)
    labels = rows(prompted / "labels")
    assert all(label["token_ids"][-1] == specials.end for label in labels)
    for before, label in zip([None, *labels], labels, strict=False):
        goes_on = label["condition_on_prev"] and not before["flags"]
        assert label["prompt_ids"] == (before["token_ids"][4:-1] if goes_on else None)
    assert any(label["prompt_ids"] for label in labels)


def test_published_prompts_on_request(prompted, data, tmp_path, tokenizer):
    specials = SpecialIds.of(tokenizer)
    run(job_of(prompted / "teacher", data, tmp_path / "labels", prompts="published"))
    labels = rows(tmp_path / "labels")
    assert labels[0]["prompt_ids"] is None
    for before, label in itertools.pairwise(labels):
        assert label["prompt_ids"] == [specials.startofprev, *before["token_ids"][3:-1]]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"language": "klingon"}, WhisperError, "'klingon' is none of this model's"),
        ({"max_duration_in_seconds": 30.0}, ConfigError, "hears more than 0 and at most 1 s"),
        ({"batch_size": 0}, ConfigError, "per_device_eval_batch_size is 0"),
        ({"plan": {"preprocessing_batch_size": -3}}, ConfigError, "preprocessing_batch_size is -3"),
    ],
)
def test_options_are_checked_against_the_model(teacher, data, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        run(job_of(teacher, data, tmp_path / "labels", **changes))


def test_wrong_options_leave_no_trace(teacher, data, tmp_path):
    with pytest.raises(WhisperError):
        run(job_of(teacher, data, tmp_path / "labels", language="klingon"))
    run(job_of(teacher, data, tmp_path / "labels"))
    assert len(rows(tmp_path / "labels")) == 5


def test_an_english_teacher_takes_no_language(data, tmp_path, english_tokenizer):
    folder = tiny.tiny_whisper(tmp_path / "en", max_source_positions=50, multilingual=False)
    with pytest.raises(WhisperError, match="English-only"):
        run(job_of(folder, data, tmp_path / "labels"))
    run(job_of(folder, data, tmp_path / "others", language=None))
    assert {label["language"] for label in rows(tmp_path / "others")} == {"en"}


def test_two_runs_of_one_folder_are_refused(teacher, data, tmp_path, monkeypatch):
    from espnet_kd.tasks import lock

    def busy(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(lock.fcntl, "lockf", busy)
    with pytest.raises(KDError, match="another run is writing"):
        run(job_of(teacher, data, tmp_path / "labels"))


def test_the_command(teacher, data, whole, tmp_path, capsys):
    words = [
        "--model_name_or_path", str(teacher), "--data_dir", str(data), "--language", "en",
        "--output_dir", str(tmp_path / "labels"), "--max_duration_in_seconds", "1",
        "--per_device_eval_batch_size", "2", "--max_label_length", "10",
    ]  # fmt: skip
    assert main(words) == 0
    assert "5 segments" in capsys.readouterr().out
    assert contents(tmp_path / "labels") == contents(whole)


def test_the_command_needs_one_kind_of_data(tmp_path, capsys):
    words = ["--model_name_or_path", "x", "--output_dir", str(tmp_path)]
    assert main(words) == 1
    assert "--data_dir or with --dataset_name" in capsys.readouterr().err
    assert main([*words, "--data_dir", "a", "--dataset_name", "b"]) == 1


def test_gpus_that_are_not_there_are_refused(teacher, data, tmp_path):
    with pytest.raises(KDError, match="--ngpu 99, but torch sees"):
        run(job_of(teacher, data, tmp_path / "labels"), ngpu=99)


def test_processes_and_devices():
    assert Machine().device(0) == "cpu"
    machine = Machine(nj=4, ngpu=2)
    assert [machine.device(rank) for rank in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("option", "value"), [("nj", 0), ("nj", -1), ("ngpu", -1), ("max_samples_per_split", 0)]
)
@pytest.mark.parametrize("kind", ["data_dir", "dataset_name"])
def test_numbers_out_of_range_are_told_at_once(tmp_path, capsys, kind, option, value):
    words = ["--model_name_or_path", "x", "--output_dir", str(tmp_path / "out"), f"--{kind}", "x"]
    assert main([*words, f"--{option}", str(value)]) == 1
    assert f"{option} is {value}; " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
