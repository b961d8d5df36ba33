"""The layouts that prepare_superb makes, read by S3PRL's own dataset classes and encoders."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from s3prl.downstream.ctc.metric import parse
from s3prl.downstream.ctc.text import load_text_encoder
from s3prl.downstream.diarization.dataset import DiarizationDataset
from s3prl.downstream.emotion.dataset import IEMOCAPDataset
from s3prl.downstream.fluent_commands.dataset import FluentCommandsDataset
from s3prl.downstream.fluent_commands.expert import DownstreamExpert as IntentExpert
from s3prl.downstream.quesst14_dtw.dataset import QUESST14Dataset
from s3prl.downstream.speech_commands import dataset as keywords
from s3prl.downstream.voxceleb1 import dataset as speakers

from s3prl_upstreams.corpora import VOCAB_DIR
from s3prl_upstreams.corpus.libriphone import LibriPhoneDataset
from s3prl_upstreams.corpus.snips import SnipsDataset
from s3prl_upstreams.make_iemocap_meta import make_iemocap_meta
from tests.unit.data.stand_in_digits import make_superb, stand_in_digits

# S3PRL leaves its lists open, and torchaudio announces its next release.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:In 2.9:UserWarning"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_superb(stand_in_digits(), tmp_path_factory.mktemp("superb"))


def test_diarisation(data):
    """Frame labels are 1 exactly where the segments say, up to half a frame."""
    root = data / "diarization"
    found = DiarizationDataset("train", str(root / "train"), frame_shift=320, chunk_size=2000)
    recordings = list(found.data.wavs)
    assert len(found) == len(recordings) == 4  # each is shorter than a chunk
    for index, recording in enumerate(recordings):
        wave, labels = found[index]
        assert abs(len(wave) / 320 - len(labels)) < 1
        assert labels.shape[1] == 2
        overlap = int((labels.sum(1) == 2).sum())
        assert overlap > 0
        talk = sum(s["et"] - s["st"] for s in found.data.segments[recording])
        assert labels.sum() * 0.02 == pytest.approx(talk, abs=0.1)
        quiet = np.repeat(labels.sum(1) == 0, 320)[: len(wave)]
        assert np.abs(wave[: len(quiet)][quiet]).mean() < 0.05 < np.abs(wave).max()
    test = DiarizationDataset("test", str(root / "test"), frame_shift=320, chunk_size=2000)
    assert test[0][2] in test.rec_list


def test_intents(data):
    """S3PRL learns the values from the training table; every other split must do with them."""
    expert = SimpleNamespace(datarc={"file_path": str(data / "fluent_speech_commands_dataset")})
    IntentExpert.get_dataset(expert)
    assert expert.values_per_slot == [4, 3, 3]
    for frame in (expert.train_df, expert.valid_df, expert.test_df):
        found = FluentCommandsDataset(frame, expert.base_path, expert.Sy_intent)
        names = []
        for index in range(len(found)):
            wave, label, name = found[index]
            names.append(name)
            row = frame.loc[index]
            assert [expert.Sy_intent[s][i] for s, i in zip(COLUMNS, label, strict=True)] == [
                row[s] for s in COLUMNS
            ]
            assert wave.ndim == 1
        assert len(set(names)) == len(names)  # predictions are filed by this name alone


COLUMNS = ("action", "object", "location")


def test_slots(data):
    """Labels decode to the words with a slot's name at both ends, as S3PRL's metrics parse them."""
    root = data / "SNIPS"
    encoder = load_text_encoder(
        "character-slot", str(VOCAB_DIR / "slot_characters.txt"), str(root / "slots.txt")
    )
    assert encoder.slots == ["B-code", "E-code", "B-number", "E-number"]
    assert encoder.vocab_size == 3 + 28 + 4
    sentences = dict(
        line.split(" ", 1) for line in (root / "all.iob.snips.txt").read_text().splitlines()
    )
    assert {name.split("-")[2] for name in sentences} == {"train", "valid", "test"}
    found = SnipsDataset(["train"], encoder, 1, path=str(root), train_speakers=["Ivy", "Joanna"])
    assert len(found) == 2 * 5
    slots = Counter()
    for path, label in found.items:
        assert encoder.unk_idx not in label
        assert label[-1] == encoder.eos_idx
        assert soundfile.info(path).duration * 50 > len(label)  # CTC needs a frame per label
        text = encoder.decode(label)
        plain, _, values, _ = parse(text, text)
        words, tags = sentences[Path(path).stem].split("\t")
        assert plain == " ".join(words.split()[1:-1])
        slots.update(value.split(":")[1] for value in values.split(";") if value)
        assert ("number" in tags) == (":number" in values)
    assert set(slots) == {"code", "number"}


def test_vocabulary_of_slot_filling():
    """The 28 characters of S3PRL's file, the blank first and the apostrophe last."""
    text = (VOCAB_DIR / "slot_characters.txt").read_text()
    assert text.splitlines() == [" ", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "'"]


def test_emotions(data, tmp_path):
    tables = make_iemocap_meta(data / "IEMOCAP", tmp_path / "meta")
    assert len(tables) == 10
    for fold in range(5):
        train, test = (
            IEMOCAPDataset(str(data / "IEMOCAP"), str(path))
            for path in tables[2 * fold : 2 * fold + 2]
        )
        assert (len(train), len(test)) == (4 * 10, 10)
        assert Counter(test[i][1] for i in range(len(test))) == {0: 2, 1: 4, 2: 2, 3: 2}
        assert {turn["speaker"] for turn in test.meta_data} == {f"Ses0{fold + 1}F"}
        assert not {turn["path"] for turn in test.meta_data} & {
            turn["path"] for turn in train.meta_data
        }


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_queries(data, split):
    found = QUESST14Dataset(split, dataset_root=str(data / "quesst14Database"))
    assert (found.n_queries, found.n_docs) == (3, 6)
    assert all(path.is_file() for path in found.data)
    queries = [path.stem for path in found.data[:3]]
    folder = data / f"quesst14Database/scoring/groundtruth_quesst14_{split}"
    truth = (folder / f"quesst14_{split}.rttm").read_text().split()
    assert set(queries) <= set(truth)  # each occurs somewhere


def test_verification(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "sox", SimpleNamespace(Transformer=None))
    from s3prl.downstream.sv_voxceleb1.dataset import SpeakerVerifi_test

    root = data / "VoxCeleb1_ASV"
    test = SpeakerVerifi_test({}, str(root / "test/wav"), str(root / "veri_test.txt"))
    assert len(test) == 4
    assert all(Path(path).is_file() for path in test.dataset)
    assert Counter(label for label, _, _ in test.pair_table) == {"0": 2, "1": 2}


def test_speakers(data, tmp_path, monkeypatch):
    monkeypatch.setattr(speakers, "CACHE_PATH", str(tmp_path))
    root = data / "VoxCeleb1"
    for mode, count in (("train", 3), ("dev", 2), ("test", 2)):
        found = speakers.SpeakerClassifiDataset(mode, root, str(root / "iden_split.txt"))
        assert len(found) == 4 * count
        assert set(found.label) == {0, 1, 2, 3}


def test_keywords(data):
    test = keywords.SpeechCommandsTestingDataset(
        speech_commands_test_root=str(data / "speech_commands_test")
    )
    counts = Counter(name for name, _ in test.data)
    assert counts.pop("_unknown_") == 2
    assert counts.pop("_silence_") == 3
    assert set(counts.values()) == {1}
    root = data / "speech_commands"
    words = [(path.parent.name, path) for path in root.rglob("*_nohash_*.wav")]
    train = keywords.SpeechCommandsDataset(words, speech_commands_root=str(root))
    assert {name for name, _ in train.data} == {*counts, "_unknown_", "_silence_"}


def test_phones(data):
    """Every word has a pronunciation, of phones that the vocabulary knows."""
    encoder = load_text_encoder("word", str(VOCAB_DIR / "phonemes.txt"))
    for split in ("train-clean-100", "dev-clean", "test-clean"):
        found = LibriPhoneDataset(
            [split], encoder, 1, path=str(data / "LibriSpeech"), lexicon=[str(data / "lexicon.txt")]
        )
        assert len(found) == (16 if split == "train-clean-100" else 8)
        assert all(encoder.unk_idx not in label for _, label in found.items)
