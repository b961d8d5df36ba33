"""Folders of labels, their audio, and logs of records."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir
from espnet_kd.data.label_folder import (
    LabelFolder,
    join_folders,
    read_label_folder,
    write_label_folder,
)
from espnet_kd.data.record_log import RecordLog
from espnet_kd.data.recordings import Recordings, open_recordings
from espnet_kd.data.segments import Span
from espnet_kd.errors import AudioError, DataDirError
from tests.unit.filtering.made_up import make_label

RATE = 16000


@pytest.fixture
def recording(tmp_path):
    """Two seconds in which every sample says where it is."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.arange(2 * RATE, dtype=np.float32) / (4 * RATE), RATE, "FLOAT")
    return path


def segmented(recording, **spans) -> KaldiDir:
    segments = {key: Span("r", *span) for key, span in spans.items()}
    return KaldiDir({"r": str(recording)}, dict.fromkeys(spans, "s"), segments=segments)


def test_stretches_of_a_recording(recording, tmp_path):
    write_kaldi_dir(tmp_path / "data", segmented(recording, a=(0.0, 0.5), b=(0.5, 2.2)))
    recordings = open_recordings(tmp_path / "data")
    assert recordings.utterances == ["a", "b"]
    assert len(recordings.wave("a")) == RATE // 2
    wave_S = recordings.wave("b")
    assert len(wave_S) == 3 * RATE // 2  # the end is rounded: what is there is read
    assert wave_S[0] == pytest.approx(0.125)


@pytest.mark.parametrize("span", [(0.0, 2.6), (2.0, 2.1)])
def test_stretches_behind_the_end(recording, span):
    with pytest.raises(AudioError, match=r"utterance a: .*ends at 2\.00 s"):
        Recordings(segmented(recording, a=span)).wave("a")


def test_utterances_that_are_not_there(recording):
    recordings = Recordings(segmented(recording, a=(0.0, 1.0)))
    for name in ("b", "r"):
        with pytest.raises(DataDirError, match=f"utterance {name} has no audio"):
            recordings.wave(name)


def test_round_trip(recording, tmp_path):
    labels = [make_label("a", "نعم", flags=["empty"]), make_label("b")]
    data = segmented(recording, a=(0.0, 0.5), b=(0.5, 1.0), c=(1.0, 1.5))
    write_label_folder(tmp_path / "labels", labels, data)
    found = read_label_folder(tmp_path / "labels")
    assert found.labels == labels
    assert found.data is not None
    assert set(found.data.segments) == {"a", "b"}


def test_labels_without_audio(tmp_path):
    write_label_folder(tmp_path / "labels", [make_label()], None)
    assert read_label_folder(tmp_path / "labels").data is None


def test_damaged_folders(recording, tmp_path):
    folder = tmp_path / "labels"
    write_label_folder(folder, [make_label("a")], segmented(recording, a=(0.0, 0.5)))
    line = (folder / "labels.jsonl").read_text()
    (folder / "labels.jsonl").write_text(line + line)
    with pytest.raises(DataDirError, match="utterance a is there twice"):
        read_label_folder(folder)
    (folder / "labels.jsonl").write_text(line + make_label("z").line())
    with pytest.raises(DataDirError, match=r"1 label\(s\) without audio.* z"):
        read_label_folder(folder)
    (folder / "labels.jsonl").write_text("")
    with pytest.raises(DataDirError, match="holds no label"):
        read_label_folder(folder)


def test_joined_folders_keep_their_recordings_apart(recording, tmp_path):
    other = tmp_path / "other.wav"
    soundfile.write(other, np.zeros(RATE, np.float32) + 0.5, RATE, "FLOAT")
    first = LabelFolder([make_label("a")], segmented(recording, a=(0.0, 0.5)))
    second = LabelFolder([make_label("b")], segmented(other, b=(0.0, 0.5)))
    third = LabelFolder([make_label("c")], KaldiDir({"c": str(other)}, {"c": "s"}))
    joined = join_folders([first, second, third], ["1", "2", "3"])
    assert joined.data is not None
    recordings = Recordings(joined.data)
    assert recordings.wave("a")[0] == 0.0
    assert recordings.wave("b")[0] == 0.5
    assert len(recordings.wave("c")) == RATE
    write_label_folder(tmp_path / "joined", joined.labels, joined.data)
    assert len(read_label_folder(tmp_path / "joined").labels) == 3


def test_folders_that_do_not_join(recording):
    first = LabelFolder([make_label("a")], segmented(recording, a=(0.0, 0.5)))
    with pytest.raises(DataDirError, match="utterance a is in 1 and in 2"):
        join_folders([first, first], ["1", "2"])
    with pytest.raises(DataDirError, match="some have wav.scp and some do not"):
        join_folders([first, LabelFolder([make_label("b")], None)], ["1", "2"])


def test_record_log(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RecordLog(path, {"model": "m"})
    log.append([{"id": "a", "text": "é"}, {"id": "b"}])
    with path.open("a") as stream:
        stream.write('{"id": "c"')
    again = RecordLog(path, {"model": "m"})
    assert again.records == {"a": {"id": "a", "text": "é"}, "b": {"id": "b"}}
    again.append([{"id": "c"}])
    assert len(RecordLog(path, {"model": "m"}).records) == 3
    assert RecordLog(path, {"model": "other"}).records == {}
    assert len((tmp_path / "log.old.jsonl").read_text().splitlines()) == 3
    RecordLog(path, {"model": "m"})  # nothing was written meanwhile: nothing to put aside
    assert len((tmp_path / "log.old.jsonl").read_text().splitlines()) == 3
