from __future__ import annotations

from pathlib import Path

import pytest

from espnet_kd.errors import ConfigError
from s3prl_upstreams.invocation import Invocation

OVERRIDE = "config.runner.total_steps=3,,config.optimizer.lr=1e-3"


def test_options_of_s3prl_pass_through_in_order():
    words = ["-f", "--seed", "3", "--upstream_feature_normalize"]
    call = Invocation.parse(["-m", "train", "-u", "fbank", *words], {})
    assert call.rest == tuple(words)
    assert call.argv() == ["-m", "train", "-u", "fbank", *words]


def test_overrides_add_up_and_negative_layers_pass():
    call = Invocation.parse(["-u", "x", "-o", OVERRIDE, "-l", "-1"], {})
    assert call.argv() == ["-u", "x", "-o", OVERRIDE, "-l", "-1"]
    more = call.with_override("config.a=1")
    assert more.override == f"{OVERRIDE},,config.a=1"
    assert Invocation.parse(["-u", "x"], {}).with_override("config.a=1").override == "config.a=1"


def test_a_run_inside_a_run_has_a_subfolder():
    call = Invocation.parse(["-u", "x", "-n", "name"], {})
    assert call.within("fold1").expdir == "result/downstream/name/fold1"
    assert call.within("fold1").expname is None


def test_own_options_do_not_reach_s3prl():
    own = ["--superb_variant", "armhubert", "--data", "D", "--no_quick_start"]
    own += ["--feature_memory", "1.5", "--no_quick_lstm"]
    call = Invocation.parse(["-u", "x", *own, "--upstream_dtype", "bfloat16"], {})
    assert (call.variant, call.data, call.quick_start) == ("armhubert", "D", False)
    assert (call.dtype, call.cache.memory_gb) == ("bfloat16", 1.5)
    assert not call.quick_lstm
    assert Invocation.parse(["--quick_lstm"], {}) == Invocation.parse([], {})
    assert call.argv() == ["-u", "x"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("asr", "asr"), ("PR", "ctc"), ("sf", "ctc"), ("SID", "voxceleb1"), ("x", "x")],
)
def test_tasks_have_short_names(given, meant):
    assert Invocation.parse(["-d", given], {}).downstream == meant


@pytest.mark.parametrize("words", [["--local-rank", "1"], ["--local-rank=1"], ["--local_rank=1"]])
def test_both_spellings_of_the_local_rank(words):
    assert Invocation.parse(words, {}).argv() == ["--local_rank", "1"]


def test_torchrun_passes_the_local_rank_in_the_environment():
    assert Invocation.parse([], {"RANK": "3", "LOCAL_RANK": "1"}).local_rank == "1"
    assert Invocation.parse([], {"LOCAL_RANK": "1"}).local_rank is None


def test_paths_that_s3prl_stores_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("student").mkdir()
    call = Invocation.parse(["-k", "student", "-g", "https://host/a.yaml", "-p", "exp"], {})
    assert call.ckpt == str(tmp_path / "student")
    assert call.model_config == "https://host/a.yaml"
    assert call.expdir == "exp", "an experiment folder may be moved"


def test_defaults_that_work_here():
    call = Invocation.parse(["-u", "armhubert", "-d", "asr"], {})
    done = call.completed(config="asr.yaml", device="cpu")
    assert (done.config, done.device, done.expname) == ("asr.yaml", "cpu", "armhubert_asr")
    given = Invocation.parse(["-c", "c", "--device", "cuda", "-p", "e"], {})
    assert given.completed(config="asr.yaml", device="cpu") == given


def test_the_folder_of_a_run_that_goes_on(tmp_path):
    states = tmp_path / "states-5.ckpt"
    for given in (tmp_path, states):
        assert Invocation.parse(["-e", str(given)], {}).folder == tmp_path
        assert Invocation.parse(["-e", str(given), "-p", "other"], {}).folder == Path("other")
    call = Invocation.parse(["-e", str(states), "--feature_cache", "exact"], {})
    cache = call.completed(config=None, device="cpu").cache
    assert cache.folder == str(tmp_path / "feature_cache")
    one = Invocation.parse(["-m", "train", "-e", str(states), "--feature_cache", "exact"], {})
    assert one.completed(config=None, device="cpu").cache.folder is None, "S3PRL knows its folder"


@pytest.mark.parametrize("text", ["1e-3 1e-4", "1e-3,1e-4", " 1e-3, 1e-4 ,", "1e-3 1e-4 1e-3"])
def test_learning_rates(text):
    assert Invocation.parse(["--lr_sweep", text], {}).rates == ("1e-3", "1e-4")


@pytest.mark.parametrize(
    "text", ["fast", "1e-3 0", "-1e-3", "nan", "1e-3,inf", "1e-3;1e-4", ",", ""]
)
def test_learning_rates_that_cannot_be(text):
    with pytest.raises(ConfigError, match="--lr_sweep"):
        Invocation.parse([f"--lr_sweep={text}"], {})


def test_a_run_resumes_when_told_to_and_able_to(tmp_path):
    words = ["-p", str(tmp_path), "-a"]
    assert not Invocation.parse(words, {}).resumes
    (tmp_path / "states-5.ckpt").touch()
    assert Invocation.parse(words, {}).resumes
    assert not Invocation.parse(words[:2], {}).resumes
    assert Invocation.parse(["-e", "x.ckpt"], {}).resumes


def test_the_evaluation_after_training_does_not_resume_the_last_state(tmp_path):
    call = Invocation.parse(["-u", "x", "-p", str(tmp_path), "-a", "-o", OVERRIDE], {})
    words = call.evaluation(tmp_path / "dev-best.ckpt").argv()
    assert "-a" not in words
    assert words[words.index("-e") + 1].endswith("dev-best.ckpt")
    assert words[words.index("-m") + 1] == "evaluate"
    assert OVERRIDE in words
