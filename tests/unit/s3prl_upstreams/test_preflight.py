"""Options that S3PRL would fail on end in one sentence each, before S3PRL is imported."""

from __future__ import annotations

import os
import pickle
from argparse import Namespace

import pytest
import torch

from espnet_kd.errors import ConfigError
from s3prl_upstreams import run_downstream
from s3prl_upstreams.invocation import Invocation
from s3prl_upstreams.preflight import option_problems

NEW = ["-m", "train", "-u", "fbank", "-d", "asr"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def problems(*words):
    return option_problems(Invocation.parse(words, {}))


def problem(*words):
    (only,) = problems(*words)
    assert "\n" not in only
    return only


def states(**changes):
    content = {
        "Args": Namespace(expdir="exp"),
        "Config": {"runner": {}},
        "Downstream": {"weight": torch.ones(3)},
        "Step": 3,
    }
    return {**content, **changes}


class Payload:
    def __reduce__(self):
        return os.system, ("touch CANARY",)


def test_what_s3prl_can_use_passes(tmp_path):
    (tmp_path / "c.yaml").write_text("runner: {}\n")
    (tmp_path / "exp").mkdir()
    changes = " config.optimizer.lr = 1e-3 ,,args.expdir='x y',,config.a.b=[1, 2]"
    assert problems(*NEW, "-c", "c.yaml", "-o", changes, "-p", "exp") == []
    assert problems(*NEW, "-o", "None", "-p", "deep/er/exp") == []
    assert problems(*NEW) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("- 1\n", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: [1\n", "cannot be read"),
        ("a: 2020-13-45\n", "cannot be read"),
        ("a: " + "[" * 5000, "cannot be read"),
    ],
)
def test_bad_config(tmp_path, text, message):
    if text is not None:
        (tmp_path / "c.yaml").write_text(text)
    said = problem(*NEW, "-c", "c.yaml")
    assert "c.yaml: " in said
    assert message in said


def test_a_folder_is_no_config(tmp_path):
    assert "cannot be read" in problem(*NEW, "-c", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "'nonsense' has no ="),
        ("", "'' has no ="),
        ("config.a=1,,", "'' has no ="),
        ("config.a='b=c'", "more than one ="),
        ("=1", "must begin with config.NAME="),
        ("optimizer.lr=1", "must begin with config.NAME="),
        ("args.a.b=1", "must begin with"),
        ("config..a=1", "must begin with"),
        ("config=1", "must begin with"),
    ],
)
def test_bad_override(text, message):
    said = problem(*NEW, "-o", text)
    assert said.startswith("-o: ")
    assert message in said


def test_every_bad_change_is_named():
    assert len(problems(*NEW, "-o", "a,,config.x=1,,b")) == 2


@pytest.mark.parametrize("name", ["file", "file/exp", "broken"])
def test_experiment_folder_is_no_folder(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    said = problem(*NEW, "-p", name)
    named = tmp_path / name.split("/")[0]
    assert said == f"-p {name}: {named} is not a folder; give -p another name"


@pytest.mark.parametrize(("words", "named"), [(["-p", "a/b"], "a/b"), ([], "downstream/fbank_asr")])
def test_experiment_folder_that_cannot_be_written(tmp_path, monkeypatch, words, named):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may do all
    said = problem(*NEW, *words)
    assert f"{named}: no permission to write in {tmp_path};" in said
    (tmp_path / "a").mkdir()
    assert problems(*NEW, "-p", "a/b") == []


def test_experiment_folder_without_a_name():
    assert problem(*NEW, "-p", "") == "-p: the name is empty; give a folder"


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_s3prl_pass(legacy):
    torch.save(states(), "x.ckpt", _use_new_zipfile_serialization=not legacy)
    allowed = set(torch.serialization.get_safe_globals())
    assert problems("-m", "evaluate", "-e", "x.ckpt") == []
    assert set(torch.serialization.get_safe_globals()) == allowed
    assert not torch.utils.serialization.config.load.mmap


def test_weights_stay_on_the_disk(monkeypatch):
    loaded = []
    load = torch.load

    def spy(*args, **kwargs):
        loaded.append(torch.utils.serialization.config.load.mmap)
        return load(*args, **kwargs)

    torch.save(states(), "x.ckpt")
    monkeypatch.setattr(torch, "load", spy)
    assert problems("-m", "evaluate", "-e", "x.ckpt") == []
    assert loaded == [True]


@pytest.mark.parametrize("part", ["Args", "Config", "Downstream"])
@pytest.mark.parametrize("value", [None, 3])
def test_each_part_is_needed(part, value):
    torch.save(states(**{part: value}), "x.ckpt")
    said = problem("-m", "evaluate", "-e", "x.ckpt")
    assert said.startswith(f"-e: x.ckpt is no checkpoint of a downstream run: it lacks {part};")


@pytest.mark.parametrize("content", [{"weight": torch.ones(2)}, [1, 2], torch.ones(2)])
def test_another_models_checkpoint(content):
    torch.save(content, "teacher.pth")
    said = problem("-m", "evaluate", "-e", "teacher.pth")
    assert "teacher.pth" in said
    assert "lacks Args, Config, Downstream" in said


def test_rubbish_and_missing_checkpoints(tmp_path):
    (tmp_path / "garbage.ckpt").write_bytes(b"hello, garbage" * 9)
    (tmp_path / "empty.ckpt").touch()
    torch.save(states(), "cut.ckpt")
    data = (tmp_path / "cut.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(data[: len(data) // 2])
    for name in ("nope.ckpt", "garbage.ckpt", "empty.ckpt", "cut.ckpt"):
        assert name in problem("-m", "evaluate", "-e", name)


@pytest.mark.parametrize("plain", [False, True])
def test_payloads_do_not_run(tmp_path, plain):
    if plain:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(Payload(), 2))
    else:
        torch.save(states(Step=Payload()), "evil.pt")
    said = problem("-m", "evaluate", "-e", "evil.pt")
    assert "evil.pt was refused: it wants to load posix.system" in said
    assert "weights_only" not in said
    assert not (tmp_path / "CANARY").exists()


def test_of_a_folder_the_latest_states_count(tmp_path):
    (tmp_path / "exp").mkdir()
    evaluate = ["-m", "evaluate", "-e", "exp"]
    assert "exp holds no states-*.ckpt" in problem(*evaluate)
    torch.save(states(), "exp/states-9.ckpt")
    torch.save({}, "exp/states-10.ckpt")
    assert "exp/states-10.ckpt is no checkpoint" in problem(*evaluate)
    torch.save({}, "exp/states-9.ckpt")
    torch.save(states(), "exp/states-10.ckpt")
    assert problems(*evaluate) == []
    torch.save(states(), "exp/states-last.ckpt")
    assert "not named by its step" in problem(*evaluate)


def test_states_that_a_resumed_run_takes_are_checked(tmp_path):
    assert problems(*NEW, "-p", "exp", "-a") == []
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "states-5.ckpt").write_bytes(b"PK\3\4 cut short")
    assert problems(*NEW, "-p", "exp", "-a") == [], "what is cut off is passed over later"
    torch.save({"model": {}}, tmp_path / "exp" / "states-4.ckpt")
    assert problem(*NEW, "-p", "exp", "-a").startswith("-a: exp/states-4.ckpt is no checkpoint of")
    assert problems(*NEW, "-p", "exp") == []


@pytest.mark.parametrize(
    ("flag", "name"),
    [("-u", "upstream"), ("-d", "downstream"), ("--superb_variant", "superb_variant")],
)
def test_a_checkpoint_of_another_upstream_task_or_variant(tmp_path, flag, name):
    (tmp_path / "exp").mkdir()
    words = [*NEW, "--superb_variant", "armhubert"]
    args = {"upstream": "fbank", "downstream": "asr", "superb_variant": "armhubert"}
    torch.save(states(Args=Namespace(**args)), "exp/states-5.ckpt")
    assert problems(*words, "-p", "exp", "-a") == []
    torch.save(states(Args=Namespace(**args | {name: "other"})), "exp/states-5.ckpt")
    said = problem(*words, "-p", "exp", "-a")
    assert "exp/states-5.ckpt, with which -a goes on" in said
    assert f"is of {flag} other; give -p another folder" in said
    assert problem(*words, "-e", "exp/states-5.ckpt").endswith("leave it out")
    assert problems(*words, "-i", "exp/states-5.ckpt") == []
    assert problems("-m", "train", "-e", "exp/states-5.ckpt") == []


@pytest.mark.parametrize(("words", "option"), [(["-i", "x.ckpt"], "-i"), (["-e", "x.ckpt"], "-e")])
def test_weights_to_begin_with(words, option):
    assert problem(*NEW, *words).startswith(f"{option}: checkpoint x.ckpt does not exist")
    torch.save(states(), "x.ckpt")
    assert problems(*NEW, *words) == []


def test_all_problems_come_at_once_and_before_s3prl(monkeypatch, capsys):
    def imported(quick):
        raise AssertionError("S3PRL was imported")

    monkeypatch.setattr(run_downstream, "_import_stock", imported)
    words = ["-m", "train", "-u", "fbank", "-c", "nope.yaml", "-o", "nonsense", "-e", "nope.ckpt"]
    with pytest.raises(ConfigError) as caught:
        run_downstream.run(words)
    assert len(caught.value.problems) == 3
    assert run_downstream.main(words) == 1
    assert "Traceback" not in capsys.readouterr().err
