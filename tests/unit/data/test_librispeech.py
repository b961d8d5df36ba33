"""LibriSpeech's layout is written and read back; what is wrong in it is named."""

from __future__ import annotations

import numpy as np
import pytest

from espnet_kd.data.kaldi_check import check_kaldi_dir
from espnet_kd.data.librispeech import scan_librispeech, write_chapter
from espnet_kd.data.prepare import SKIPPED, combine, prepare_split
from espnet_kd.data.recording import Recording
from espnet_kd.errors import AudioError, DataDirError


def chapter(speaker: str, count: int = 3, text: str = "GO LEFT") -> list[Recording]:
    rng = np.random.default_rng(int(speaker))
    waves = [rng.uniform(-0.5, 0.5, 2000 + i).astype(np.float32) for i in range(count)]
    return [Recording(speaker, "7", i, text, wave) for i, wave in enumerate(waves)]


@pytest.fixture
def root(tmp_path):
    for speaker in ("103", "1034"):
        write_chapter(tmp_path, "dev-clean", chapter(speaker))
    return tmp_path


def test_round_trip(root):
    data, skipped = scan_librispeech(root, "dev-clean")
    assert skipped == []
    assert data.utt2spk["103-7-0001"] == "103"
    assert data.text["1034-7-0002"] == "GO LEFT"
    assert data.num_samples["103-7-0002"] == 2002


def test_unlabelled_split(tmp_path):
    write_chapter(tmp_path, "train", chapter("1", text=""))
    assert scan_librispeech(tmp_path, "train")[0].text == {}


def test_prepare_is_idempotent_and_mends_a_broken_folder(root, tmp_path):
    folder = tmp_path / "data"
    assert prepare_split(root, "dev-clean", folder)[1]
    before = (folder / "wav.scp").stat().st_mtime_ns
    assert not prepare_split(root, "dev-clean", folder)[1]
    assert (folder / "wav.scp").stat().st_mtime_ns == before
    (folder / "text").write_text("half a line")
    assert prepare_split(root, "dev-clean", folder)[1]
    assert check_kaldi_dir(folder, need_text=True) == []


def test_combine(root, tmp_path):
    write_chapter(root, "other", chapter("5", text=""))
    prepare_split(root, "dev-clean", tmp_path / "a")
    prepare_split(root, "other", tmp_path / "b")
    whole = combine([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert len(whole) == 9
    assert whole.text == {}
    assert check_kaldi_dir(tmp_path / "c") == []


def test_missing_split_lists_what_there_is(root):
    with pytest.raises(DataDirError, match="no split 'test-clean'.*it has dev-clean"):
        scan_librispeech(root, "test-clean")
    with pytest.raises(DataDirError, match="no such folder either"):
        scan_librispeech(root / "nowhere", "test-clean")


@pytest.mark.parametrize("outer", ["dev/shm", "train/train-clean-100", "data-dev/train"])
def test_names_above_the_corpus_do_not_matter(tmp_path, outer):
    """The published list maker looks for "train" and "dev" anywhere in the path."""
    root = tmp_path / outer / "LibriSpeech"
    for split, speaker in (("train-clean-100", "1"), ("dev-clean", "2"), ("dev-other", "3")):
        write_chapter(root, split, chapter(speaker))
    for split, speaker in (("train-clean-100", "1"), ("dev-clean", "2"), ("dev-other", "3")):
        assert set(scan_librispeech(root, split)[0].utt2spk.values()) == {speaker}


def test_empty_split(tmp_path):
    (tmp_path / "dev").mkdir()
    with pytest.raises(DataDirError, match=r"no READER/CHAPTER/\*\.flac"):
        scan_librispeech(tmp_path, "dev")


def test_recording_without_transcript_is_named(root):
    file = root / "dev-clean/103/7/103-7.trans.txt"
    file.write_text("\n".join(file.read_text().splitlines()[:2]) + "\n")
    with pytest.raises(DataDirError, match="1 recording.*103-7-0002"):
        scan_librispeech(root, "dev-clean")


def test_blank_transcript_line_is_named(root):
    file = root / "dev-clean/103/7/103-7.trans.txt"
    file.write_text("\n" + file.read_text())
    with pytest.raises(DataDirError, match=r"103-7\.trans\.txt:1: blank"):
        scan_librispeech(root, "dev-clean")


def test_bad_recording_stops_or_is_skipped_and_listed(tmp_path):
    write_chapter(tmp_path, "train", chapter("1", count=120))
    (tmp_path / "train/1/7/1-7-0005.flac").write_bytes(b"")
    with pytest.raises(AudioError, match="1-7-0005.*0 bytes"):
        scan_librispeech(tmp_path, "train")
    data, _ = prepare_split(tmp_path, "train", tmp_path / "data", skip_bad=True)
    assert len(data) == 119
    assert "1-7-0005" in (tmp_path / "data" / SKIPPED).read_text()


def test_too_many_bad_recordings_stop(root):
    (root / "dev-clean/103/7/103-7-0001.flac").write_bytes(b"")
    with pytest.raises(DataDirError, match="1 of 6 recordings are unusable, more than 1%"):
        scan_librispeech(root, "dev-clean", skip_bad=True)
