from __future__ import annotations

import subprocess
import sys

import numpy as np
import soundfile

from s3prl_upstreams.check_data import SOURCES, check_task, main
from s3prl_upstreams.tasks import TASKS, find_task


def make_intents(root):
    corpus = root / "fluent_speech_commands_dataset"
    (corpus / "data").mkdir(parents=True)
    for split in ("train", "valid", "test"):
        table = ",path,action,object,location\n0,wavs/a.wav,x,y,z\n1,wavs/b.wav,x,y,z\n"
        (corpus / "data" / f"{split}_data.csv").write_text(table)
    (corpus / "wavs").mkdir()
    for name in ("a", "b"):
        soundfile.write(corpus / "wavs" / f"{name}.wav", np.zeros(16000), 16000)
    return corpus


def test_nobody_waits_for_torch():
    code = "import sys, s3prl_upstreams.check_data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_task_has_a_source():
    assert SOURCES.keys() == {task.name for task in TASKS}


def test_what_is_missing_is_said_with_its_source(tmp_path, capsys):
    make_intents(tmp_path)
    assert main(["--data", str(tmp_path), "--tasks", "ic er"]) == 1
    out, err = capsys.readouterr()
    assert out == "IC: ready\n"
    assert "ER: data of -d emotion" in err
    assert "datarc.root: no folder with Session1, Session2" in err
    assert "get it: IEMOCAP: https://" in err


def test_a_table_without_a_column_that_s3prl_reads(tmp_path):
    corpus = make_intents(tmp_path)
    (corpus / "data" / "valid_data.csv").write_text(",path,action\n0,wavs/a.wav,x\n")
    problem = check_task(find_task("ic"), str(tmp_path)).problem
    assert "valid_data.csv has no column object, location" in problem


def test_a_folder_of_configurations_without_the_tasks_file(tmp_path, capsys):
    make_intents(tmp_path)
    (tmp_path / "superb_er.yaml").write_text("a: [\n")
    words = ["--data", str(tmp_path), "--conf", str(tmp_path), "--tasks", "ic er"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    missing, broken = err.splitlines()
    assert missing.startswith(f"IC: --conf: 1 problem(s) - {tmp_path / 'superb_ic.yaml'} is not")
    assert broken.startswith(f"ER: {tmp_path / 'superb_er.yaml'}: 1 problem(s) - cannot be")
    assert out == ""


def test_headers_are_read_on_request(tmp_path):
    corpus = make_intents(tmp_path)
    found = check_task(find_task("ic"), str(tmp_path), audio=True)
    assert (found.recordings, round(found.hours * 3600, 3)) == (2, 2.0)
    assert found.line() == "IC: ready, 2 recordings, 0.00 h"
    (corpus / "wavs" / "b.wav").write_text("text")
    (corpus / "wavs" / "c.wav").touch()
    problem = check_task(find_task("ic"), str(tmp_path), audio=True).problem
    assert "2 recording(s) cannot be used" in problem
    assert "b.wav: not readable" in problem
    assert "c.wav: the file has 0 bytes" in problem


def test_recordings_of_a_kaldi_table(tmp_path):
    wave = tmp_path / "far" / "r1.wav"
    wave.parent.mkdir()
    soundfile.write(wave, np.zeros(8000), 16000)
    for split in ("train", "dev", "test"):
        folder = tmp_path / "diarization" / split
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text(f"r1 {wave}\n")
        for name in ("segments", "utt2spk", "spk2utt", "reco2dur"):
            (folder / name).touch()
    assert check_task(find_task("sd"), str(tmp_path), audio=True).recordings == 1
