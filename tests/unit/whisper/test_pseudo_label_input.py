"""What comes in: bad recordings are told by name, long and cut ones are labelled as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.kaldi_dir import read_kaldi_dir
from espnet_kd.data.speech_source import KaldiSource
from espnet_kd.data.tables import read_table, write_table
from espnet_kd.errors import AudioError, DataDirError
from tests.unit.whisper import tiny
from tests.unit.whisper.labelled import RATE, job_of, kaldi_dir, rows, run, write_noise


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A multilingual folder with 1 s of context."""
    return tiny.tiny_whisper(tmp_path_factory.mktemp("teacher") / "tiny", max_source_positions=50)


def spoil(folder: Path) -> None:
    """Make six of the nine recordings bad, each in its way."""
    nan = np.zeros(4800, np.float32)
    nan[100] = np.nan
    soundfile.write(str(folder / "a-0.wav"), nan, RATE, subtype="FLOAT")
    (folder / "a-1.wav").write_text("no sound")
    (folder / "a-2.wav").unlink()
    (folder / "a-3.wav").write_bytes((folder / "a-3.wav").read_bytes()[:3000])
    write_noise(folder / "a-4.wav", 0.4, 4, channels=2)
    (folder / "b-8.wav").write_bytes(b"")


def test_bad_recordings_are_left_out_and_listed(teacher, tmp_path):
    data = kaldi_dir(tmp_path / "speech")
    spoil(tmp_path / "speech")
    summary = run(job_of(teacher, data, tmp_path / "labels"))
    found = {row["id"]: row["reason"] for row in rows(tmp_path / "labels", "skipped.jsonl")
             if "id" in row}  # fmt: skip
    reasons = {
        "a-0": "NaN", "a-1": "not readable", "a-2": "no such file", "a-3": "truncated",
        "a-4": "2 channels", "b-8": "0 bytes",
    }  # fmt: skip
    assert set(found) == set(reasons)
    for name, reason in reasons.items():
        assert reason in found[name]
        assert f"utterance {name}" in found[name]
    labels = rows(tmp_path / "labels")
    assert [label["source_ids"] for label in labels] == [["a-5"], ["b-6", "b-7"]]
    assert summary.utterances == 3
    assert check_kaldi_dir(tmp_path / "labels") == []


def test_a_recording_that_turns_out_bad_leaves_its_segment_in_order(teacher, tmp_path):
    """Headers promise well, samples are NaN: the segment goes on without that utterance."""
    data = kaldi_dir(tmp_path / "speech", lengths=(0.3, 0.3, 0.9, 0.3))
    nan = np.full(4800, np.nan, np.float32)
    soundfile.write(str(tmp_path / "speech" / "a-1.wav"), nan, RATE, subtype="FLOAT")
    bad = np.full(14400, np.nan, np.float32)
    soundfile.write(str(tmp_path / "speech" / "a-2.wav"), bad, RATE, subtype="FLOAT")
    run(job_of(teacher, data, tmp_path / "labels"))
    first, last = rows(tmp_path / "labels")
    assert first["source_ids"] == ["a-0"]
    assert first["duration"] == 0.3
    assert first["reference"] == "text of a-0"
    assert last["source_ids"] == ["a-3"]
    assert last["condition_on_prev"] == 0  # what it continued could not be labelled
    skipped = rows(tmp_path / "labels", "skipped.jsonl")
    assert [row.get("id") for row in skipped] == ["a-2", None, "a-1"]
    assert skipped[1] == {
        "segment": "a-2", "reason": "no utterance of the segment can be used", "dropped": True,
    }  # fmt: skip


def test_nothing_usable_is_an_error_with_reasons(teacher, tmp_path):
    data = kaldi_dir(tmp_path / "speech", lengths=(0.3,))
    (tmp_path / "speech" / "a-0.wav").write_text("no sound")
    with pytest.raises(DataDirError, match=r"not one segment.*\n.*a-0.*not readable"):
        run(job_of(teacher, data, tmp_path / "labels"))


def test_other_rates_are_resampled_or_refused(teacher, tmp_path):
    data = kaldi_dir(tmp_path / "speech", lengths=(0.3, 0.3))
    write_noise(tmp_path / "speech" / "a-1.wav", 0.3, 1, rate=8000)
    plan = {"concatenate_audio": False}
    run(job_of(teacher, data, tmp_path / "labels", plan=plan))
    assert [label["duration"] for label in rows(tmp_path / "labels")] == [0.3, 0.3]
    wavs = read_kaldi_dir(tmp_path / "labels").wav_scp
    assert wavs["a-0"].endswith("a-0.wav")
    assert soundfile.info(wavs["a-1"]).samplerate == RATE  # written anew
    run(job_of(teacher, data, tmp_path / "strict", plan=plan, policy=AudioPolicy()))
    assert [label["id"] for label in rows(tmp_path / "strict")] == ["a-0"]
    (row,) = rows(tmp_path / "strict", "skipped.jsonl")
    assert "8000 Hz" in row["reason"]


def test_long_recordings_are_cut_or_left_out_never_shortened(teacher, tmp_path):
    data = kaldi_dir(tmp_path / "speech", lengths=(2.3, 0.3))
    run(job_of(teacher, data, tmp_path / "labels", plan={"concatenate_audio": False}))
    labels = rows(tmp_path / "labels")
    assert [label["source_ids"] for label in labels] == [["a-0"]] * 3 + [["a-1"]]
    assert sum(label["duration"] for label in labels[:3]) == pytest.approx(2.3)
    assert [label["condition_on_prev"] for label in labels] == [0, 1, 1, 0]
    assert [label["reference"] for label in labels] == [None, None, None, "text of a-1"]
    run(job_of(teacher, data, tmp_path / "others", plan={"long_audio": "skip"}))
    assert [label["id"] for label in rows(tmp_path / "others")] == ["a-1"]
    (row,) = rows(tmp_path / "others", "skipped.jsonl")
    assert row == {"id": "a-0", "reason": "has 36800 samples, a segment at most 16000"}


def test_pieces_of_a_file_are_named_by_segments(teacher, tmp_path):
    data = kaldi_dir(tmp_path / "speech", lengths=(2.3, 0.3))
    run(job_of(teacher, data, tmp_path / "labels", plan={"concatenate_audio": False}))
    out = tmp_path / "labels"
    assert check_kaldi_dir(out) == []
    with pytest.raises(DataDirError, match="stretches of recordings are not read here"):
        read_kaldi_dir(out)
    found = read_kaldi_dir(out, segments=True)
    assert sorted(found.wav_scp.values()) == sorted(str(p) for p in data.parent.glob("*.wav"))
    whole, _ = soundfile.read(str(data.parent / "a-0.wav"), dtype="float32")
    source = KaldiSource(out, AudioPolicy(), speakers=False)
    pieces = {clip.id: source.read(clip) for clip in source.clips(lambda *_: None)}
    np.testing.assert_array_equal(
        np.concatenate([pieces[label["id"]] for label in rows(out)][:3]), whole
    )


def segmented(folder: Path, lines: dict[str, str]) -> Path:
    """A folder of one recording of 2 s with stretches of it."""
    data = kaldi_dir(folder, lengths=(2.0,))
    write_table(data / "segments", lines)
    write_table(data / "utt2spk", dict.fromkeys(lines, "a"))
    write_table(data / "text", dict.fromkeys(lines, "hello"))
    (data / "spk2utt").unlink()
    return data


def test_stretches_of_recordings_are_read(teacher, tmp_path):
    data = segmented(
        tmp_path / "speech", {"u1": "a-0 0.1 0.5", "u2": "a-0 0.7 1.2", "u3": "a-0 1.9 2.1"}
    )
    run(job_of(teacher, data, tmp_path / "labels"))
    labels = rows(tmp_path / "labels")
    assert [label["source_ids"] for label in labels] == [["u1", "u2", "u3"]]
    whole, _ = soundfile.read(str(tmp_path / "speech" / "a-0.wav"))
    joined, _ = soundfile.read(read_kaldi_dir(tmp_path / "labels").wav_scp[labels[0]["id"]])
    parts = [whole[1600:8000], whole[11200:19200], whole[30400:32000]]
    np.testing.assert_array_equal(joined, np.concatenate(parts))


def test_stretches_behind_the_end_are_told(tmp_path):
    data = segmented(tmp_path, {"u1": "a-0 0.1 0.5", "u2": "a-0 1.0 2.6", "u3": "a-0 2.1 2.2"})
    told = {}
    source = KaldiSource(data, AudioPolicy())
    assert [clip.id for clip in source.clips(told.__setitem__)] == ["u1"]
    assert "ends at 2.00 s, segments says 1.00 to 2.60 s" in told["u2"]
    assert "u3" in told


def test_bad_segments_are_told_with_their_lines(tmp_path):
    data = segmented(tmp_path, {"u1": "a-0 0.5 0.1", "u2": "nobody 0.1 0.5", "u3": "a-0 x 1"})
    problems = [str(problem) for problem in check_kaldi_dir(data)]
    assert len(problems) == 3
    assert problems[0].startswith("segments:1: u1: 'a-0 0.5 0.1' is not `recording start end`")
    assert problems[1] == "segments:2: u2: recording nobody is not in wav.scp"
    with pytest.raises(DataDirError, match="segments:3"):
        KaldiSource(data, AudioPolicy())


def test_counts_are_believed_until_the_sound_is_read(tmp_path):
    data = kaldi_dir(tmp_path, lengths=(0.3,))
    write_table(data / "utt2num_samples", {"a-0": "4000"})
    source = KaldiSource(data, AudioPolicy())
    (clip,) = source.clips(lambda *_: None)
    assert clip.samples == 4000
    with pytest.raises(AudioError, match="has 4800 samples, 4000 were announced"):
        source.read(clip)


def test_speakers_come_together_and_may_be_ignored(tmp_path):
    data = kaldi_dir(tmp_path, lengths=(0.3,) * 3)
    write_table(data / "utt2spk", {"a-0": "x", "a-1": "w", "a-2": "x"})
    (data / "spk2utt").unlink()
    source = KaldiSource(data, AudioPolicy())
    clips = list(source.clips(lambda *_: None))
    assert [(clip.id, clip.speaker) for clip in clips] == [("a-1", "w"), ("a-0", "x"), ("a-2", "x")]
    source = KaldiSource(data, AudioPolicy(), speakers=False, most=2)
    clips = list(source.clips(lambda *_: None))
    assert [(clip.id, clip.speaker) for clip in clips] == [("a-0", ""), ("a-1", "")]
    assert len(read_table(data / "wav.scp").rows) == 3
