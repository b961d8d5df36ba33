from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile

from espnet_kd.errors import AudioError, ConfigError, DataDirError
from s3prl_upstreams.configs import default_config
from s3prl_upstreams.corpora import FILLERS, VOCAB_DIR, fill_config
from s3prl_upstreams.fill import cache_folder
from s3prl_upstreams.make_bucket_files import main, make_bucket_files
from s3prl_upstreams.tasks import TASKS, find_task

SPLITS = ("train-clean-100", "dev-clean", "test-clean")


def write_split(root, split, samples=(800, 1600), rate=16000):
    folder = root / split / "1" / "2"
    folder.mkdir(parents=True)
    lines = []
    for index, length in enumerate(samples):
        soundfile.write(folder / f"1-2-{index:04d}.flac", np.zeros(length), rate)
        lines.append(f"1-2-{index:04d} WORD {index}\n")
    (folder / "1-2.trans.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def libri(tmp_path):
    root = tmp_path / "data" / "LibriSpeech"
    for split in SPLITS:
        write_split(root, split)
    return root


def fill(downstream, data, expdir, splits=(), config=None):
    config = config or default_config(downstream)
    fill_config(config, find_task(downstream).downstream, data and str(data), str(expdir), splits)
    return config["downstream_expert"]


def test_asr_gets_everything_from_the_corpus_folder(libri, tmp_path):
    datarc = fill("asr", libri.parent, tmp_path / "exp", ["test-clean"])["datarc"]
    assert datarc["libri_root"] == str(libri)
    assert datarc["dict_path"] == str(VOCAB_DIR / "characters.txt")
    with open(f"{datarc['bucket_file']}/train-clean-100.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["length"] for row in rows] == ["1600", "800"]
    assert rows[0]["file_path"] == "train-clean-100/1/2/1-2-0001.flac"
    assert rows[0]["label"] == "WORD 1"


def test_the_corpus_folder_may_be_given_itself(libri, tmp_path):
    assert fill("asr", libri, tmp_path / "exp")["datarc"]["libri_root"] == str(libri)


def test_tables_for_the_evaluation_are_added_later(libri, tmp_path):
    config = default_config("asr")
    for splits, count in (((), 2), (["test-clean"], 3)):
        folder = fill("asr", libri, tmp_path, splits, config)["datarc"]["bucket_file"]
        assert len(list(tmp_path.joinpath(folder).glob("*.csv"))) == count


def test_what_the_user_set_stays(libri, tmp_path):
    config = default_config("asr")
    mine = tmp_path / "mine"
    mine.mkdir()
    config["downstream_expert"]["datarc"].update(libri_root=str(libri), bucket_file=str(mine))
    assert fill("asr", None, tmp_path, config=config)["datarc"]["bucket_file"] == str(mine)


def test_everything_missing_is_named_at_once_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError) as error:
        fill("ctc", None, tmp_path)
    text = str(error.value)
    assert "2 problem(s)" in text
    assert "config.downstream_expert.corpus.path='PATH'" in text
    assert "lexicon" in text
    with pytest.raises(ConfigError, match="speech_commands_test_root"):
        fill("speech_commands", None, tmp_path)


def test_a_split_that_asr_does_not_know(libri, tmp_path):
    with pytest.raises(ConfigError, match="-t test: no such split"):
        fill("asr", libri, tmp_path, ["test"])


def test_a_wrong_data_folder(tmp_path):
    with pytest.raises(ConfigError, match="not a folder"):
        fill("asr", tmp_path / "none", tmp_path)


def test_phone_recognition_finds_the_lexicon_beside_the_corpus(libri, tmp_path):
    (libri.parent / "lexicon.txt").write_text("WORD\tW ER1 D\n")
    expert = fill("ctc", libri.parent, tmp_path)
    assert expert["corpus"]["lexicon"] == [str(libri.parent / "lexicon.txt")]
    assert expert["text"]["vocab_file"] == str(VOCAB_DIR / "phonemes.txt")


def test_keyword_and_speaker_corpora_are_found(tmp_path):
    for name in ("speech_commands_v0.01", "speech_commands_test_set_v0.01", "VoxCeleb1/dev"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "VoxCeleb1" / "iden_split.txt").touch()
    words = fill("speech_commands", tmp_path, tmp_path)["datarc"]
    assert words["speech_commands_root"] == str(tmp_path / "speech_commands_v0.01")
    assert words["speech_commands_test_root"] == str(tmp_path / "speech_commands_test_set_v0.01")
    speakers = fill("voxceleb1", tmp_path, tmp_path)["datarc"]
    assert speakers["meta_data"] == str(tmp_path / "VoxCeleb1" / "iden_split.txt")


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_trials_of_verification_serve_for_the_split_that_s3prl_cannot_evaluate(tmp_path):
    touch(tmp_path / "VoxCeleb1", "dev/wav/a", "test/wav/a", "veri_test.txt", "veri_test2.txt")
    datarc = fill("asv", tmp_path, tmp_path)["datarc"]
    assert datarc["file_path"] == str(tmp_path / "VoxCeleb1")
    assert datarc["test_meta_data"] == str(tmp_path / "VoxCeleb1" / "veri_test2.txt")
    assert datarc["dev_meta_data"] == datarc["test_meta_data"]


def test_folders_of_diarisation(tmp_path):
    for split in ("train", "dev", "test"):
        names = ("wav.scp", "segments", "utt2spk")
        touch(tmp_path / "diarization" / split, *names)
    loaderrc = fill("sd", tmp_path, tmp_path)["loaderrc"]
    assert loaderrc["dev_dir"] == str(tmp_path / "diarization" / "dev")
    (tmp_path / "diarization" / "dev" / "segments").unlink()
    with pytest.raises(ConfigError, match=r"loaderrc.dev_dir: no folder with wav.scp, segments"):
        fill("sd", tmp_path, tmp_path)


def test_intents_queries_and_slots(tmp_path):
    touch(tmp_path / "fluent_speech_commands_dataset", "data/train_data.csv", "wavs/a")
    root = str(tmp_path / "fluent_speech_commands_dataset")
    assert fill("ic", tmp_path, tmp_path)["datarc"]["file_path"] == root
    touch(tmp_path / "quesst14Database", "scoring/language_key_utterances.lst")
    root = str(tmp_path / "quesst14Database")
    assert fill("qbe", tmp_path, tmp_path)["datarc"]["dataset_root"] == root
    snips = tmp_path / "SNIPS"
    touch(snips, "all.iob.snips.txt", "train/a", "valid/a", "test/a")
    with pytest.raises(ConfigError, match=r"text.slots_file: no slots.txt in "):
        fill("sf", tmp_path, tmp_path)
    touch(snips, "slots.txt")
    expert = fill("sf", tmp_path, tmp_path)
    assert expert["corpus"]["path"] == str(snips)
    assert expert["text"]["slots_file"] == str(snips / "slots.txt")
    assert expert["text"]["vocab_file"] == str(VOCAB_DIR / "slot_characters.txt")


def test_every_task_says_what_it_lacks(tmp_path):
    assert FILLERS.keys() == {task.name for task in TASKS}
    for task in TASKS:
        with pytest.raises(ConfigError, match=rf"data of -d \w+ \({task.name}\)") as error:
            fill(task.name, None, tmp_path)
        assert "--data DIR" in str(error.value)


def test_other_tasks_are_left_alone(tmp_path):
    config = {"downstream_expert": {"datarc": {"root": None}}}
    before = {"downstream_expert": {"datarc": {"root": None}}}
    assert fill_config(config, "separation_stft", None, str(tmp_path)) is None
    assert config == before


def test_two_corpora_never_share_a_list_of_files():
    configs = [{"downstream_expert": {"datarc": {"file_path": path}}} for path in "ab"]
    first, second = (cache_folder(config, "exp") for config in configs)
    assert first != second
    assert first.parent == second.parent


def test_bucket_files_from_the_command_line(libri, tmp_path, capsys):
    words = [str(libri), "--splits", *SPLITS, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("*.csv"))) == 3
    assert main([str(libri), "--splits", "dev-other", "--out", "o"]) == 1
    assert "does not hold dev-other" in capsys.readouterr().err


def test_bucket_files_name_bad_recordings(tmp_path):
    folder = write_split(tmp_path, "dev-clean", rate=8000)
    with pytest.raises(AudioError, match=r"1-2-0000.*8000"):
        make_bucket_files(tmp_path, ["dev-clean"], tmp_path / "out")
    (folder / "1-2-0001.flac").unlink()
    with pytest.raises(DataDirError, match=r"trans.txt:2: utterance 1-2-0001 has no recording"):
        make_bucket_files(tmp_path, ["dev-clean"], tmp_path / "out")
    assert not (tmp_path / "out").exists(), "no half-made tables"
