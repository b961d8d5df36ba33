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
    touch(tmp_path / "speech_commands_v0.01", "_background_noise_/hum.wav")
    touch(tmp_path / "speech_commands_test_set_v0.01", "_silence_/a.wav", "_unknown_/a.wav")
    touch(tmp_path / "VoxCeleb1", "dev/wav/id10001/v/1.wav", "test/wav/id10002/v/1.wav")
    lines = "1 id10001/v/1.wav\n3 id10002/v/1.wav\n"
    (tmp_path / "VoxCeleb1" / "iden_split.txt").write_text(lines)
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
    touch(tmp_path / "VoxCeleb1", "dev/wav/a", "test/wav/a", "test/wav/b", "veri_test.txt")
    (tmp_path / "VoxCeleb1" / "veri_test2.txt").write_text("1 a b\n0 b a\n")
    datarc = fill("asv", tmp_path, tmp_path)["datarc"]
    assert datarc["file_path"] == str(tmp_path / "VoxCeleb1")
    assert datarc["test_meta_data"] == str(tmp_path / "VoxCeleb1" / "veri_test2.txt")
    assert datarc["dev_meta_data"] == datarc["test_meta_data"]


def test_folders_of_diarisation(tmp_path):
    for split in ("train", "dev", "test"):
        names = ("segments", "utt2spk", "spk2utt", "reco2dur")
        touch(tmp_path / "diarization" / split, *names)
        (tmp_path / "diarization" / split / "wav.scp").write_text("r1 sox r1.sph -t wav - |\n")
    loaderrc = fill("sd", tmp_path, tmp_path)["loaderrc"]
    assert loaderrc["dev_dir"] == str(tmp_path / "diarization" / "dev")
    (tmp_path / "diarization" / "dev" / "segments").unlink()
    with pytest.raises(ConfigError, match=r"loaderrc.dev_dir: \S+/dev lacks segments"):
        fill("sd", tmp_path, tmp_path)


def test_intents_queries_and_slots(tmp_path):
    touch(tmp_path / "fluent_speech_commands_dataset", "wavs/a")
    root = str(tmp_path / "fluent_speech_commands_dataset")
    for split in ("train", "valid", "test"):
        touch(tmp_path, f"fluent_speech_commands_dataset/data/{split}_data.csv")
        table = tmp_path / f"fluent_speech_commands_dataset/data/{split}_data.csv"
        table.write_text(",path,action,object,location\n0,wavs/a,a,b,c\n")
    assert fill("ic", tmp_path, tmp_path)["datarc"]["file_path"] == root
    touch(tmp_path / "quesst14Database", "Audio/a", "dev_queries/a", "eval_queries/a")
    for split in ("dev", "eval"):
        truth = tmp_path / f"quesst14Database/scoring/groundtruth_quesst14_{split}"
        touch(truth, "a.rttm", "a.ecf.xml", "a.tlist.xml")
    keys = {"utterances": "Audio", "dev": "dev_queries", "eval": "eval_queries"}
    for name, folder in keys.items():
        path = tmp_path / f"quesst14Database/scoring/language_key_{name}.lst"
        path.write_text(f"x/{folder}/a nnenglish\nx/{folder}/not_there czech\n")
    root = str(tmp_path / "quesst14Database")
    assert fill("qbe", tmp_path, tmp_path)["datarc"]["dataset_root"] == root
    snips = tmp_path / "SNIPS"
    voices = {"train": "Ivy", "valid": "Amy", "test": "Emma"}
    names = [f"{voice}-snips-{split}-0" for split, voice in voices.items()]
    touch(snips, *(f"{name.split('-')[2]}/{name}.wav" for name in names))
    # Emma is no voice of the training, so that the last line needs no recording.
    lines = [f"{name} BOS GO EOS\tO O x\n" for name in (*names, "Emma-snips-train-0")]
    (snips / "all.iob.snips.txt").write_text("".join(lines))
    with pytest.raises(ConfigError, match=r"text.slots_file: no slots.txt in "):
        fill("sf", tmp_path, tmp_path)
    touch(snips, "slots.txt")
    expert = fill("sf", tmp_path, tmp_path)
    assert expert["corpus"]["path"] == str(snips)
    assert expert["text"]["slots_file"] == str(snips / "slots.txt")
    assert expert["text"]["vocab_file"] == str(VOCAB_DIR / "slot_characters.txt")


def given(task, block, key, folder, tmp_path):
    config = default_config(task)
    config["downstream_expert"][block][key] = str(folder)
    with pytest.raises(ConfigError) as error:
        fill(task, None, tmp_path, config=config)
    return str(error.value)


def test_a_folder_that_was_given_must_hold_what_is_needed(tmp_path):
    folder = tmp_path / "mine"
    touch(folder, "wavs/a", "test/wav/a")
    intents = given("ic", "datarc", "file_path", folder, tmp_path)
    tables = ", ".join(f"data/{split}_data.csv" for split in ("train", "valid", "test"))
    assert f"datarc.file_path: {folder} lacks {tables}. Give" in intents
    trials = given("asv", "datarc", "file_path", folder, tmp_path)
    assert f"datarc.file_path: {folder} lacks dev/wav. Give" in trials


def test_at_most_ten_missing_recordings_are_named_and_all_are_counted(tmp_path):
    folder = tmp_path / "VoxCeleb1"
    touch(folder, "dev/wav/id10001/v/0.wav")
    lines = "".join(f"{1 + n % 3} id10001/v/{n}.wav\n" for n in range(14))
    (folder / "iden_split.txt").write_text(f"{lines}4 unread.wav\n")
    with pytest.raises(ConfigError) as error:
        fill("sid", tmp_path, tmp_path)
    text = str(error.value)
    assert f"13 of 14 recordings that {folder / 'iden_split.txt'} names" in text
    assert f"not in {folder / 'dev/wav'}: id10001/v/1.wav, id10001/v/2.wav" in text
    assert "id10001/v/10.wav and 3 more" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "names no recordings"),
        ("1 a.wav\n\n", "iden_split.txt:2: '' is not SPLIT PATH"),
        ("a.wav\n", "iden_split.txt:1: 'a.wav' is not SPLIT PATH"),
        ("1 \xff\n", "is not UTF-8"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, line, message):
    touch(tmp_path / "VoxCeleb1", "dev/wav/a.wav")
    (tmp_path / "VoxCeleb1" / "iden_split.txt").write_bytes(line.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        fill("sid", tmp_path, tmp_path)
    assert message in str(error.value)


def test_a_broken_link_is_no_recording(tmp_path):
    touch(tmp_path / "VoxCeleb1", "dev/wav/a.wav")
    (tmp_path / "VoxCeleb1/dev/wav/b.wav").symlink_to(tmp_path / "unmounted")
    (tmp_path / "VoxCeleb1/dev/wav/c.wav").symlink_to(tmp_path / "VoxCeleb1/dev/wav/a.wav")
    (tmp_path / "VoxCeleb1" / "iden_split.txt").write_text("1 a.wav\n2 b.wav\n3 c.wav\n")
    with pytest.raises(ConfigError, match=r"1 of 3 recordings .*: b\.wav\. Restore"):
        fill("sid", tmp_path, tmp_path)


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
    splits = [f"{SPLITS[0]}/", *SPLITS[1:]]
    words = [str(libri), "--splits", *splits, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{s}.csv" for s in SPLITS}
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
