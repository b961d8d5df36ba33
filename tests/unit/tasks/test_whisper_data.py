"""Folders of labels and transcripts: what is used, what is left out, and what a batch holds."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from espnet_kd.data.label_folder import write_label_folder
from espnet_kd.data.label_index import LabelIndex
from espnet_kd.errors import AudioError, DataDirError, KDError, WhisperError
from espnet_kd.tasks.whisper_data import SpeechFolder
from espnet_kd.tasks.whisper_examples import LabelPreparation, Utterances, WhisperCollate
from espnet_kd.tasks.whisper_labels import Spoken
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.whisper.collate import IGNORE_INDEX
from espnet_kd.whisper.labels import LabelOptions
from tests.unit.tasks.whisper_corpus import (
    labelled,
    make_label,
    tiny_teacher,
    write_labelled,
    write_speech,
    write_transcribed,
)
from tests.unit.whisper.tiny import tiny_bundle


def speech_folder(folder: Path, *, train: bool = True, **conf: Any) -> SpeechFolder:
    """The folder as a run with these options sees it."""
    kd = WhisperDistillConfig.from_dict(conf)
    return SpeechFolder(folder, tiny_teacher(), kd, train=train, name=folder.name)


def used(folder: SpeechFolder) -> list[str]:
    return [usable.id for usable in folder.utterances]


def utterances(folders: Sequence[SpeechFolder], *, train: bool, **options: Any) -> Utterances:
    preparation = LabelPreparation(
        tiny_teacher().specials, LabelOptions(max_label_length=48, **options), train=train
    )
    return Utterances(folders, preparation)


# --- What is used
def test_bad_labels_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = [
        make_label("a", "one two", reference="one two"),
        make_label("b", "one two", truncated=True),
        make_label("c", "one two", reference="three two"),
        make_label("d", "one two", reference=None),
        make_label("e", "one " * 60),
        make_label("f", "one two", seconds=0.05),
        make_label("g", "one two", flags=["repeated"]),
    ]
    folder = write_labelled(tmp_path / "labels", labels)
    with caplog.at_level(logging.INFO):
        found = speech_folder(folder, wer_threshold=50.0, min_duration_in_seconds=0.1)
    assert used(found) == ["a", "g"]
    assert "labels that may be bad are used: 1 flagged repeated" in caplog.text
    for part in (
        "2 of 7 utterances", "1 flagged truncated", "1 WER of 50 % or more", "1 no reference",
        "1 label longer than 48 tokens", "1 not longer than 0.1 s",
    ):  # fmt: skip
        assert part in caplog.text
    assert used(speech_folder(folder, drop_flagged=["repeated"]))[:2] == ["a", "b"]
    assert "g" not in used(speech_folder(folder, drop_flagged=["repeated"]))


def test_recordings_longer_than_the_context_are_left_out(tmp_path: Path) -> None:
    labels = [make_label("a", "one"), make_label("b", "two", seconds=1.2)]
    folder = write_labelled(tmp_path / "labels", labels)
    assert used(speech_folder(folder)) == ["a"]
    assert used(speech_folder(folder, train=False)) == ["a"]
    with pytest.raises(DataDirError, match="none of its 2 utterances can be used: .*0.5 s"):
        speech_folder(folder, max_duration_in_seconds=0.5)


def test_a_label_with_timestamps_counts_without_them(tmp_path: Path) -> None:
    """Six tokens and prefix: with timestamps 12, without them 11."""
    folder = write_labelled(tmp_path / "labels", [make_label("a", "one two three", stamped=True)])
    length = len(make_label("a", "one two three", stamped=True).token_ids)
    assert used(speech_folder(folder, max_label_length=length - 1)) == ["a"]
    with pytest.raises(DataDirError, match="label longer than"):
        speech_folder(folder, max_label_length=length - 1, timestamp_probability=1.0)


@pytest.mark.parametrize(
    ("changes", "conf", "part"),
    [
        ({}, {"language": "hi"}, "is in en, kd_conf.language is hi"),
        ({"token_ids": [5, 6, 50257]}, {}, "no start token"),
        ({"reference": None}, {"wer_threshold": 10.0}, "there is not one"),
        ({}, {"language": "xx"}, "language 'xx'"),
    ],
)
def test_unusable_labels(
    tmp_path: Path, changes: dict[str, Any], conf: dict[str, Any], part: str
) -> None:
    folder = write_labelled(tmp_path / "labels", [make_label("a", "one", **changes)])
    with pytest.raises(KDError, match=part):
        speech_folder(folder, **conf)


def test_labels_of_a_multilingual_model_for_an_english_one(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 2)
    english = tiny_bundle(multilingual=False, max_source_positions=50, d_model=16)
    with pytest.raises(WhisperError, match="English-only"):
        SpeechFolder(folder, english, WhisperDistillConfig(), train=True, name="x")


def test_missing_parts_of_a_folder(tmp_path: Path) -> None:
    plain = write_transcribed(tmp_path / "plain", {"a": "one"})
    with pytest.raises(DataDirError, match="use_pseudo_labels: false"):
        speech_folder(plain)
    folder = labelled(tmp_path / "labels", 2)
    with pytest.raises(DataDirError, match="no transcripts"):
        speech_folder(folder, use_pseudo_labels=False)
    data = write_speech(tmp_path / "wav", ["u00"])
    write_label_folder(tmp_path / "mixed", [make_label("u00", "one")], data)
    line = make_label("other", "one").line()
    with (tmp_path / "mixed" / "labels.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line)
    with pytest.raises(DataDirError, match=r"1 label\(s\) without audio .* other"):
        speech_folder(tmp_path / "mixed")


def test_damaged_label_files(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 3)
    path = folder / "labels.jsonl"
    good = path.read_text("utf-8")
    path.write_text(good + "{half", encoding="utf-8")
    with pytest.raises(DataDirError, match=r"labels.jsonl:4: not JSON"):
        speech_folder(folder)
    path.write_text(good + good.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(DataDirError, match=r"labels.jsonl:4: utterance u00 was there before"):
        speech_folder(folder)


def test_a_label_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 3)
    index = LabelIndex(folder)
    assert [label.id for label in index.scan()] == ["u00", "u01", "u02"]
    assert index.read("u01").id == "u01"
    lines = (folder / "labels.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "labels.jsonl").write_text("".join(reversed(lines)), encoding="utf-8")
    with pytest.raises(DataDirError):
        index.read("u02")


# --- What is said
def test_training_reads_labels_and_validation_references(tmp_path: Path) -> None:
    label = make_label("a", "one two", stamped=True, reference="one four", prompt_ids=[7, 8])
    folder = write_labelled(tmp_path / "labels", [label])
    tokenizer = tiny_teacher().tokenizer
    trained = speech_folder(folder).labels.read("a")
    assert trained == Spoken(label.token_ids, [7, 8], "one two")
    seen = speech_folder(folder, train=False).labels.read("a")
    assert seen.prompt_ids is None
    assert seen.reference == "one four"
    assert tokenizer.decode(seen.token_ids) == (
        "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>one four<|endoftext|>"
    )
    unreferenced = dataclasses.replace(label, id="b", reference=None)
    folder = write_labelled(tmp_path / "more", [unreferenced])
    assert speech_folder(folder, train=False).labels.read("b").reference == "one two"


def test_transcripts_in_several_languages(tmp_path: Path) -> None:
    folder = write_transcribed(tmp_path / "plain", {"a": "ek do", "b": "one two"})
    conf: dict[str, Any] = {"use_pseudo_labels": False}
    with pytest.raises(WhisperError, match="utt2lang"):
        speech_folder(folder, **conf)
    tokenizer = tiny_teacher().tokenizer
    labels = speech_folder(folder, language="Hindi", **conf).labels
    assert tokenizer.decode(labels.read("a").token_ids).startswith("<|startoftranscript|><|hi|>")
    (folder / "utt2lang").write_text("b en\n")
    labels = speech_folder(folder, language="hi", task="translate", **conf).labels
    assert [tokenizer.decode(labels.read(k).token_ids[1:3]) for k in "ab"] == [
        "<|hi|><|translate|>", "<|en|><|translate|>",
    ]  # fmt: skip


# --- What a batch holds
def test_timestamps_and_prompts_are_drawn(tmp_path: Path) -> None:
    label = make_label("a", "one two", stamped=True, prompt_ids=[7, 8])
    folder = speech_folder(write_labelled(tmp_path / "labels", [label]))
    ids = tiny_teacher().specials

    def tokens(**options: float) -> list[int]:
        _, row = utterances([folder], train=True, **options)["a"]
        return list(row["token_ids"])

    always = {"timestamp_probability": 1.0, "condition_on_prev_probability": 1.0}
    assert tokens(**always) == [ids.startofprev, 7, 8, *label.token_ids]
    never = {"timestamp_probability": 0.0, "condition_on_prev_probability": 0.0}
    assert ids.notimestamps in tokens(**never)
    assert max(tokens(**never)) < ids.timestamp_begin
    np.random.seed(0)  # noqa: NPY002
    first = [tokens() for _ in range(8)]
    np.random.seed(0)  # noqa: NPY002
    assert [tokens() for _ in range(8)] == first
    assert len({len(sequence) for sequence in first}) > 1


def test_a_label_too_long_with_timestamps_is_used_without(tmp_path: Path) -> None:
    label = make_label("a", "one two three", stamped=True)
    options = LabelOptions(timestamp_probability=1.0, max_label_length=len(label.token_ids) - 1)
    prepare = LabelPreparation(tiny_teacher().specials, options, train=True)
    row = prepare("a", Spoken(label.token_ids, None, ""))
    assert len(row["token_ids"]) == options.max_label_length


def test_batches(tmp_path: Path) -> None:
    bundle = tiny_teacher()
    one, two = labelled(tmp_path / "one", 3), labelled(tmp_path / "two", 2)
    folders = [speech_folder(path) for path in (one, two)]
    dataset = utterances(folders, train=True)
    assert dataset.keys() == [["0/u00", "0/u01", "0/u02"], ["1/u00", "1/u01"]]
    assert dataset.has_name("speech")
    assert not dataset.has_name("codes")
    ids, batch = WhisperCollate(bundle)([dataset["0/u00"], dataset["1/u01"]])
    assert ids == ["0/u00", "1/u01"]
    assert batch["input_features"].shape == (2, 80, 100)
    assert batch["labels"].shape == batch["decoder_input_ids"].shape
    assert (batch["labels"] != IGNORE_INDEX).any(dim=1).all()
    assert "reference" not in batch
    _, padded = WhisperCollate(bundle, pad_to=48)([dataset["0/u00"]])
    assert padded["labels"].shape == (1, 47)

    validation = utterances([speech_folder(one, train=False)], train=False)
    _, batch = WhisperCollate(bundle)([validation[key] for key in ("u00", "u01")])
    assert batch["dataset"] == ["one", "one"]
    assert all(isinstance(text, str) and text for text in batch["reference"])
    assert int((batch["labels"] >= bundle.specials.timestamp_begin).sum()) == 0


def test_validation_takes_the_longest_labels_first(tmp_path: Path) -> None:
    labels = [make_label("a", "one"), make_label("b", "one two three four"), make_label("c", "two")]
    folder = speech_folder(write_labelled(tmp_path / "labels", labels), train=False)
    assert utterances([folder], train=False).longest_first() == ["b", "a", "c"]


def test_durations_come_from_what_is_there(tmp_path: Path) -> None:
    folder = write_transcribed(tmp_path / "plain", {"a": "one", "b": "two"})
    conf: dict[str, Any] = {"use_pseudo_labels": False, "language": "en"}
    assert [u.seconds for u in speech_folder(folder, **conf).utterances] == [0.6, 0.6]
    (folder / "utt2num_samples").unlink()
    assert [u.seconds for u in speech_folder(folder, **conf).utterances] == [0.6, 0.6]


def test_a_recording_of_another_length_than_promised_is_refused(tmp_path: Path) -> None:
    """1.2 s of sound that its label says to be 0.6 s would be cut to the context of 1 s."""
    folder = labelled(tmp_path / "labels", 1)
    write_speech(tmp_path / "labels_wav", ["u00"], seconds=1.2)
    found = speech_folder(folder)
    with pytest.raises(AudioError, match=r"u00.*1\.20 s"):
        WhisperCollate(tiny_teacher())([utterances([found], train=True)["u00"]])


def test_stretches_of_recordings_and_other_rates(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "labels", 2)
    recording = (tmp_path / "labels_wav" / "u00.wav").resolve()
    (folder / "wav.scp").write_text(f"r {recording}\n")
    (folder / "segments").write_text("u00 r 0.000000 0.250000\nu01 r 0.250000 0.500000\n")
    found = speech_folder(folder)
    assert len(found.recordings.wave("u01")) == 4000
    torch.testing.assert_close(
        torch.from_numpy(found.recordings.wave("u01")),
        torch.from_numpy(speech_folder(folder).recordings.wave("u00")).new_tensor(
            np.asarray(_read(recording))[4000:8000]
        ),
    )


def _read(path: Path) -> Any:
    import soundfile

    return soundfile.read(str(path), dtype="float32")[0]
