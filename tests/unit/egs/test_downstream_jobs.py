"""Downstream jobs: what is run, what is done already, what goes on, and on which GPU."""

from __future__ import annotations

import json
import re

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


@pytest.mark.parametrize(
    "words",
    [
        ["--extra", "--feature_cache isolated --feature_cache_gb 50"],
        ["--extra", "--feature_cache isolated --feature_cache_dir=/fast --feature_memory 4"],
        ["--ngpu", "1"],
    ],
)
def test_what_changes_no_result_costs_no_training(tmp_path, model, words, capsys):
    common = ["--data", "asr=/a", "--tasks", "asr", "--extra", "--feature_cache isolated"]
    (job,) = made(tmp_path, model, *common)
    job.prepare()
    for name in ("states-500.ckpt", "score.json", "dev.json"):
        (job.expdir / name).write_text("{}")
    jobs.write_json(job.expdir / jobs.MARK, job.mark)
    (again,) = made(tmp_path, model, *common, *words)
    assert again.is_done()
    assert again.prepare() == [*again.argv, "-a"]
    assert (job.expdir / "states-500.ckpt").exists()
    assert (job.expdir / "dev.json").exists(), "a training that goes on compares with it"
    assert capsys.readouterr().err == ""


def test_learning_rates_are_added_to_a_job(tmp_path, model):
    common = ["--data", "asr=/a", "--tasks", "asr", "--extra"]
    (job,) = made(tmp_path, model, *common, "--lr_sweep '1e-2 1e-3'")
    job.prepare()
    (job.expdir / "lr_1e-2").mkdir()
    for name in ("lr_1e-2/states-500.ckpt", "lr_1e-2/score.json", "score.json"):
        (job.expdir / name).write_text("{}")
    jobs.write_json(job.expdir / jobs.MARK, job.mark)
    (longer,) = made(tmp_path, model, *common, "--lr_sweep '1e-2 1e-3 1e-4'")
    assert not longer.is_done()
    assert longer.prepare()[-1] == "-a"
    assert (job.expdir / "lr_1e-2/states-500.ckpt").exists()
    assert (job.expdir / "lr_1e-2/score.json").exists()
    assert not (job.expdir / "score.json").exists()
    (single,) = made(tmp_path, model, *common, "")
    assert "-a" not in single.prepare(), "S3PRL's states lie elsewhere"


def test_marks_that_were_whole_commands(tmp_path, model):
    words = ["--data", "asr=/a", "--tasks", "asr", "--extra", "--feature_cache_gb 50"]
    (job,) = made(tmp_path, model, *words)
    job.prepare()
    (job.expdir / "states-500.ckpt").touch()
    jobs.write_json(job.expdir / jobs.STARTED, {**job.start_mark, "command": " ".join(job.argv)})
    assert job.prepare()[-1] == "-a"


def test_the_log_has_every_attempt_and_whatever_was_raised(tmp_path, model, monkeypatch):
    def fail(argv):
        raise AssertionError("deep inside S3PRL")

    monkeypatch.setattr("s3prl_upstreams.run_downstream.main", fail)
    monkeypatch.setattr(jobs.signal, "signal", lambda *_: None)
    (job,) = made(tmp_path, model, "--data", "asr=/a", "--tasks", "asr")
    for attempt in (1, 2):
        with pytest.raises(SystemExit) as ended:
            jobs.run_job(job, {})
        assert ended.value.code == 1
        said = (job.expdir / "run.log").read_text()
        assert said.count("AssertionError: deep inside S3PRL") == attempt
        assert len(re.findall(r"^# \d{4}-\d\d-\d\d .* -d asr", said, re.MULTILINE)) == attempt
    assert not (job.expdir / jobs.MARK).exists()


def test_only_its_own_states_are_resumed(tmp_path, model, capsys):
    words = ["--data", "asr=/a", "--tasks", "asr"]
    (job,) = made(tmp_path, model, *words)
    assert "-a" not in job.prepare(), "nothing to resume"
    (job.expdir / "states-500.ckpt").write_bytes(b"")
    (job.expdir / "dev.json").write_text("{}")
    assert job.prepare()[-1] == "-a"
    assert capsys.readouterr().err == ""
    (other,) = made(tmp_path, model, *words, "--seed", "1")
    assert "-a" not in other.prepare()
    assert not (job.expdir / "states-500.ckpt").exists()
    assert not (job.expdir / "dev.json").exists(), "the best of another training"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"1 old checkpoint(s) removed from {job.expdir}" in said


@pytest.mark.parametrize(
    ("visible", "ngpu", "names"),
    [("", 2, ["0", "1"]), ("5,7", 2, ["5", "7"]), ("5,7", 1, ["5"]), ("", 0, [None])],
)
def test_devices(monkeypatch, visible, ngpu, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in jobs.devices(ngpu)] == names
