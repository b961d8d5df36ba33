"""Connected digits: disjoint sets, right transcripts, from a folder and from an archive."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import soundfile

from espnet_kd.data.digits import DigitsPlan, load_digits, prepare_digits
from espnet_kd.data.librispeech import scan_librispeech
from espnet_kd.errors import AudioError, DataDirError

PLAN = DigitsPlan(
    unlabelled_utterances=4, labelled_utterances=3, heldout_utterances=2, sid_utterances=2
)


@pytest.fixture
def fsdd(tmp_path):
    """Two speakers, every digit, 12 recordings each; the level of a recording tells its index."""
    folder = tmp_path / "fsdd"
    folder.mkdir()
    for speaker in ("anna", "bert"):
        for digit in range(10):
            for index in range(12):
                wave = np.full(800, (index + 1) / 20)
                soundfile.write(str(folder / f"{digit}_{speaker}_{index}.wav"), wave, 8000)
    return folder


def test_strings(fsdd, tmp_path):
    prepare_digits(fsdd, tmp_path / "out", PLAN)
    data, _ = scan_librispeech(tmp_path / "out/LibriSpeech", "train-clean-360")
    assert len(data) == 8
    for utterance, text in data.text.items():
        words = text.split()
        assert 3 <= len(words) <= 7
        assert data.num_samples[utterance] >= 1600 * len(words) + 800 * (len(words) + 1)


@pytest.mark.parametrize(
    ("split", "low", "high"),
    [("test-clean", 0, 4), ("dev-clean", 5, 9), ("train-clean-100", 10, 11)],
)
def test_no_recording_is_in_two_sets(fsdd, tmp_path, split, low, high):
    prepare_digits(fsdd, tmp_path / "out", PLAN)
    data, _ = scan_librispeech(tmp_path / "out/LibriSpeech", split)
    for path in data.wav_scp.values():
        wave, _ = soundfile.read(path)
        loud = np.round(wave[wave > 0.04] * 20 - 1)  # plateaus carry the index
        plateaus, counts = np.unique(loud, return_counts=True)
        indexes = plateaus[counts > 700]
        assert len(indexes)
        assert indexes.min() >= low
        assert indexes.max() <= high


def test_archive_equals_folder(fsdd, tmp_path):
    with tarfile.open(tmp_path / "fsdd.tar.gz", "w:gz") as archive:
        archive.add(fsdd, "fsdd")
        link = tarfile.TarInfo("fsdd/1_eve_0.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        note = tarfile.TarInfo("../README")
        note.size = 2
        archive.addfile(note, io.BytesIO(b"hi"))
    packed, plain = load_digits(tmp_path / "fsdd.tar.gz"), load_digits(fsdd)
    assert packed.keys() == plain.keys()
    assert all(np.array_equal(packed[key], plain[key]) for key in plain)
    assert not (tmp_path.parent / "README").exists()


def test_speaker_identification(fsdd, tmp_path):
    prepare_digits(fsdd, tmp_path / "out", PLAN)
    lines = (tmp_path / "out/VoxCeleb1/iden_split.txt").read_text().split("\n")
    assert sum(line.startswith("3 id10002/") for line in lines) == 2


def test_what_is_not_fsdd(tmp_path):
    with pytest.raises(DataDirError, match="neither a folder nor a tar"):
        load_digits(tmp_path / "nothing")
    with pytest.raises(DataDirError, match="is this FSDD"):
        load_digits(tmp_path)
    (tmp_path / "1_anna_0.wav").write_text("no wave")
    with pytest.raises(AudioError, match=r"1_anna_0\.wav: not readable"):
        load_digits(tmp_path)


def test_missing_set_is_named(fsdd, tmp_path):
    for file in fsdd.glob("*_bert_[0-4].wav"):
        file.unlink()
    with pytest.raises(DataDirError, match="no test recording of bert"):
        prepare_digits(fsdd, tmp_path / "out", PLAN)
