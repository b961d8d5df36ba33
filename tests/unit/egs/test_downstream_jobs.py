"""Downstream jobs: what is run, what is done already, what goes on, and on which GPU."""

from __future__ import annotations

import json

import pytest

from egs.TEMPLATE import downstream_jobs as jobs


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def made(tmp_path, model, *words):
    common = ["--models", f"student={model}", "--out", str(tmp_path / "out")]
    return jobs.make_jobs(jobs.get_parser().parse_args([*common, *words]))


def after(argv, option):
    return argv[argv.index(option) + 1]


def test_folders_of_the_corpus_and_of_the_command_line(tmp_path, model, capsys):
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"librispeech": "/libri", "voxceleb": ""}))
    words = ["--corpus", str(corpus), "--data", "ks=/words", "--tasks", "asr", "sid", "ks"]
    found = {job.task: after(job.argv, "--data") for job in made(tmp_path, model, *words)}
    assert found == {"asr": "/libri", "ks": "/words"}
    assert "sid: there is no data for it, left out" in capsys.readouterr().err


def test_overrides_are_joined(tmp_path, model):
    words = ["--data", "asr=/a", "pr=/a", "--tasks", "asr", "pr", "--bucket", "/len"]
    words += ["--lexicon", "/l.txt", "--override", "config.a=1", "--extra", "-o config.b=2 -f"]
    asr, pr = made(tmp_path, model, *words)
    expert = "config.downstream_expert"
    assert after(asr.argv, "-o") == f"{expert}.datarc.bucket_file='/len',,config.a=1,,config.b=2"
    assert after(pr.argv, "-o") == f"{expert}.corpus.lexicon=['/l.txt'],,config.a=1,,config.b=2"
    assert asr.argv.count("-o") == 1
    assert asr.argv[-1] == "-f"


def test_a_job_is_done_for_one_command_and_one_model(tmp_path, model):
    words = ["--data", "asr=/a", "--tasks", "asr"]
    (job,) = made(tmp_path, model, *words)
    assert not job.is_done()
    job.prepare()
    (job.expdir / "score.json").write_text("{}")
    jobs.write_json(job.expdir / jobs.MARK, job.mark)
    assert made(tmp_path, model, *words)[0].is_done()
    assert not made(tmp_path, model, *words, "--seed", "1")[0].is_done()
    (model / "README.md").write_text("a model card changes nothing")
    assert made(tmp_path, model, *words)[0].is_done()
    (model / "model.safetensors").write_bytes(b"other weights")
    assert not made(tmp_path, model, *words)[0].is_done()


def test_only_its_own_states_are_resumed(tmp_path, model):
    words = ["--data", "asr=/a", "--tasks", "asr"]
    (job,) = made(tmp_path, model, *words)
    assert "-a" not in job.prepare(), "nothing to resume"
    (job.expdir / "states-500.ckpt").write_bytes(b"")
    assert job.prepare()[-1] == "-a"
    (other,) = made(tmp_path, model, *words, "--seed", "1")
    assert "-a" not in other.prepare()
    assert not (job.expdir / "states-500.ckpt").exists()


@pytest.mark.parametrize(
    ("visible", "ngpu", "names"),
    [("", 2, ["0", "1"]), ("5,7", 2, ["5", "7"]), ("5,7", 1, ["5"]), ("", 0, [None])],
)
def test_devices(monkeypatch, visible, ngpu, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in jobs.devices(ngpu)] == names
