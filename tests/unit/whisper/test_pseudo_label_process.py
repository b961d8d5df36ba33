"""The labelling command as a process of its own, ended from outside; and its other backend."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from espnet_kd.bin.whisper_pseudo_label import main
from espnet_kd.whisper.load import save_whisper
from tests.unit.whisper import tiny
from tests.unit.whisper.decoded import stopping
from tests.unit.whisper.labelled import contents, kaldi_dir, rows

LENGTHS = (0.3, 0.6) * 6
"""Pairs become segments of 0.9 s, written as audio: two speakers, 6 segments, a batch each."""

LONGEST = 96
"""Tokens of a label: the teacher never stops, so a batch takes a while."""


def words_of(teacher: Path, data: Path, output: Path, *more: object) -> list[str]:
    """The command's options."""
    words = (
        *("--model_name_or_path", teacher, "--data_dir", data, "--output_dir", output),
        *("--language", "en", "--max_duration_in_seconds", 1, "--max_label_length", LONGEST),
        *("--per_device_eval_batch_size", 1, *more),
    )
    return [str(word) for word in words]


def started(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, with one thread."""
    root = Path(__file__).resolve().parents[3]
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "espnet_kd.bin.whisper_pseudo_label", *words],
            env=environment, stdout=stream, stderr=stream,
        )  # fmt: skip


def whole_lines(shard: Path) -> list[bytes]:
    """Lines of a file that another process writes to; none while there is no file."""
    data = shard.read_bytes() if shard.exists() else b""
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]


def kill_in_the_middle(process: subprocess.Popen[bytes], shard: Path, log: Path) -> None:
    """SIGKILL as soon as a label is on the disk."""
    while not whole_lines(shard):
        assert process.poll() is None, log.read_text()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()


def mark(shard: Path) -> dict[str, float]:
    """Change the scores of the labels that are there, so that they are known again.

    Returns:
        What they were, by segment.
    """
    scores, lines = {}, []
    for number, line in enumerate(whole_lines(shard)):
        row: dict[str, Any] = json.loads(line)
        label = row["label"]
        scores[label["id"]] = label["avg_logprob"]
        label["avg_logprob"] = -1000.0 - number
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    torn = shard.read_bytes()[sum(map(len, whole_lines(shard))) :]
    shard.write_bytes("".join(lines).encode() + torn)
    return scores


def unmark(folder: Path, scores: dict[str, float]) -> int:
    """Put the scores back; returns how many labels still had their mark."""
    labels = rows(folder)
    marked = [label for label in labels if label["avg_logprob"] <= -1000.0]
    for label in marked:
        label["avg_logprob"] = scores[label["id"]]
    text = "".join(json.dumps(label, ensure_ascii=False) + "\n" for label in labels)
    (folder / "labels.jsonl").write_text(text, "utf-8")
    return len(marked)


def test_a_process_killed_from_outside_goes_on(tmp_path: Path) -> None:
    """Nothing is done again, nothing is there twice, and all is as without the kill."""
    teacher = tiny.tiny_whisper(tmp_path / "teacher", max_source_positions=50)
    data = kaldi_dir(tmp_path / "speech", lengths=LENGTHS)
    killed, whole, log = tmp_path / "killed", tmp_path / "whole", tmp_path / "log"
    shard = killed / "labels.00.jsonl"
    with started(words_of(teacher, data, killed), log) as process:
        kill_in_the_middle(process, shard, log)
    assert not (killed / "labels.jsonl").exists()
    done = mark(shard)
    assert 1 <= len(done) < len(LENGTHS) // 2

    # In this process: another one's imports would cost more than all the rest.
    assert main(words_of(teacher, data, killed)) == 0
    assert main(words_of(teacher, data, whole)) == 0
    assert unmark(killed, done) == len(done)
    identifiers = [label["id"] for label in rows(killed)]
    assert len(set(identifiers)) == len(identifiers) == len(LENGTHS) // 2
    assert contents(killed) == contents(whole)


@pytest.mark.skipif(
    importlib.util.find_spec("faster_whisper") is None,
    reason="faster-whisper (extra faster-whisper), which brings CTranslate2, is not installed",
)
def test_ctranslate2_writes_the_same_labels(tmp_path: Path) -> None:
    save_whisper(stopping(), tmp_path / "teacher")
    data = kaldi_dir(tmp_path / "speech")
    folders = {}
    for backend in ("transformers", "ctranslate2"):
        folders[backend] = tmp_path / backend
        words = words_of(tmp_path / "teacher", data, folders[backend], "--backend", backend)
        assert main([*words, "--max_label_length", "12"]) == 0
    own, other = (rows(folder) for folder in folders.values())
    assert any(label["text"] for label in own)
    for label, found in zip(own, other, strict=True):
        assert found.pop("avg_logprob") == pytest.approx(label.pop("avg_logprob"), abs=1e-4)
        assert found.pop("mean_entropy") is None
        assert label.pop("mean_entropy") > 0
        assert found == label
    _is_read_by_faster_whisper(folders["ctranslate2"] / "ctranslate2")


def _is_read_by_faster_whisper(folder: Path) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), compute_type="float32", cpu_threads=1)
    assert model.model.is_multilingual
    assert model.feature_extractor.n_samples == 16000
