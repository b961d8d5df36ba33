"""Each repair alone, on stand-ins for what it repairs."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from argparse import Namespace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from espnet_kd.errors import KDError
from s3prl_upstreams import mends, sox


def arguments(downstream="asr", **changes):
    values = {"device": "cpu", "expdir": "exp", "upstream_ckpt": None, **changes}
    return Namespace(downstream=downstream, **values)


@pytest.fixture
def no_safe_globals():
    saved = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(saved)


def test_checkpoints_with_a_namespace_can_be_read(no_safe_globals, tmp_path):
    path = tmp_path / "states-1.ckpt"
    torch.save({"Args": Namespace(upstream="x"), "Step": 1}, path)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(path, weights_only=True)
    assert mends.allow_namespace()
    assert torch.load(path, weights_only=True)["Args"].upstream == "x"
    assert mends.allow_namespace() is None


class Canary:
    """A class that nobody allowed."""


def test_other_classes_stay_refused(no_safe_globals, tmp_path):
    mends.allow_namespace()
    path = tmp_path / "states-1.ckpt"
    torch.save({"Args": Canary()}, path)
    with pytest.raises(Exception, match="Canary"):
        torch.load(path, weights_only=True)


def test_a_torchaudio_without_backends(monkeypatch):
    monkeypatch.delattr(torchaudio, "set_audio_backend", raising=False)
    assert mends.keep_audio_backend()
    assert torchaudio.set_audio_backend("sox_io") is None
    assert mends.keep_audio_backend() is None


def test_a_torchaudio_that_would_need_torchcodec(monkeypatch, tmp_path):
    old = torchaudio.load
    monkeypatch.setattr(torchaudio, "load", old)  # put back afterwards
    monkeypatch.delattr(torchaudio, "info", raising=False)  # 2.9 has it no more
    if mends.load_without_torchcodec() is None:
        pytest.skip("torchcodec is installed")
    wave = np.linspace(-0.5, 0.5, 800, dtype=np.float32).reshape(400, 2)
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    x_CS, rate = torchaudio.load(str(tmp_path / "a.wav"))
    assert rate == 8000
    assert torch.equal(x_CS, torch.from_numpy(wave.T.copy()))
    x_CS, _ = torchaudio.load(tmp_path / "a.wav", frame_offset=10, num_frames=5)
    assert torch.equal(x_CS, torch.from_numpy(wave[10:15].T.copy()))
    with pytest.raises(TypeError, match="normalize"):
        torchaudio.load(tmp_path / "a.wav", normalize=False)


def test_a_huggingface_hub_without_upload_classes(monkeypatch):
    hub = ModuleType("huggingface_hub")
    hub.HfFolder = object
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert "Repository" in mends.keep_hub_classes()
    assert isinstance(hub.Repository, type)
    assert hub.HfFolder is object
    assert mends.keep_hub_classes() is None


def test_tensorboardx_is_used_where_it_is(monkeypatch):
    assert mends.provide_tensorboard_writer() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "tensorboardX", raising=False)
    assert mends.provide_tensorboard_writer()
    writer = sys.modules.pop("tensorboardX").SummaryWriter
    assert writer.__module__.startswith("torch.utils.tensorboard")


def test_isinstance_stays_pythons():
    before = isinstance
    stock = SimpleNamespace(hack_isinstance=lambda: pytest.fail("builtins were replaced"))
    assert mends.keep_isinstance(stock)
    stock.hack_isinstance()
    assert mends.keep_isinstance(stock) is None
    assert isinstance is before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_cuda_is_the_identity_without_a_gpu(monkeypatch):
    # Not torch's own method: in this process a test of whole runs may have mended it before.
    monkeypatch.setattr(torch.Tensor, "cuda", lambda _tensor: pytest.fail("no GPU here"))
    assert mends.ignore_cuda(arguments(device="cuda"), {}) is None
    assert mends.ignore_cuda(arguments(), {})
    tensor = torch.zeros(3)
    assert tensor.cuda() is tensor
    assert tensor.cuda(0, non_blocking=True) is tensor
    assert mends.ignore_cuda(arguments(), {}) is None


@pytest.fixture
def wheel(monkeypatch):
    """S3PRL's ctc task as the wheel has it: no ``corpus``."""
    task = ModuleType("s3prl.downstream.ctc")
    task.__path__ = []
    expert = ModuleType("s3prl.downstream.ctc.expert")
    seen = []

    def load_dataset(split, tokenizer, corpus):
        seen.append(corpus.pop("num_workers", 12))

    expert.load_dataset = load_dataset
    for name, module in {
        "s3prl": ModuleType("s3prl"),
        "s3prl.downstream": ModuleType("s3prl.downstream"),
        "s3prl.downstream.ctc": task,
        "s3prl.downstream.ctc.expert": expert,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "s3prl.downstream.ctc.corpus", raising=False)
    yield SimpleNamespace(expert=expert, seen=seen)
    for name in [n for n in sys.modules if n.startswith("s3prl.downstream.ctc.corpus")]:
        del sys.modules[name]


def test_ctc_corpora_are_supplied(wheel):
    assert mends.provide_ctc_corpora(arguments("asr"), {}) is None
    assert mends.provide_ctc_corpora(arguments("ctc"), {})
    for name, dataset in (("libriphone", "LibriPhoneDataset"), ("snips", "SnipsDataset")):
        module = importlib.import_module(f"s3prl.downstream.ctc.corpus.{name}")
        assert hasattr(module, dataset)
    assert mends.provide_ctc_corpora(arguments("ctc"), {}) is None


def test_ctc_loaders_keep_their_workers(wheel):
    assert mends.keep_ctc_workers(arguments("ctc"), {})
    corpus = {"num_workers": 1}
    wheel.expert.load_dataset("train", None, corpus)
    wheel.expert.load_dataset("dev", None, corpus)
    assert wheel.seen == [1, 1]
    assert mends.keep_ctc_workers(arguments("ctc"), {}) is None


@pytest.mark.parametrize("block", ["datarc", "corpus"])
def test_no_more_workers_than_cores(block, monkeypatch):
    monkeypatch.setattr(mends.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    config = {"downstream_expert": {block: {"num_workers": 12}}}
    assert "12 -> 3" in mends.limit_workers(arguments(), config)
    assert config["downstream_expert"][block]["num_workers"] == 3
    assert mends.limit_workers(arguments(), config) is None


def test_sox_effects_without_libsox(monkeypatch):
    monkeypatch.setattr(mends, "libsox_works", lambda: False)
    monkeypatch.setattr(torchaudio.sox_effects, "apply_effects_file", None)
    assert mends.replace_sox_effects(arguments("asr"), {}) is None
    assert mends.replace_sox_effects(arguments("speech_commands"), {})
    assert torchaudio.sox_effects.apply_effects_file is sox.apply_effects_file
    assert mends.replace_sox_effects(arguments("speech_commands"), {}) is None
    monkeypatch.setattr(torchaudio.sox_effects, "apply_effects_file", None)
    monkeypatch.setattr(mends, "libsox_works", lambda: True)
    assert mends.replace_sox_effects(arguments("speech_commands"), {}) is None


def test_a_torchaudio_without_sox_effects(monkeypatch):
    monkeypatch.setattr(mends, "libsox_works", lambda: False)
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", None)
    monkeypatch.delattr(torchaudio, "sox_effects", raising=False)
    assert mends.replace_sox_effects(arguments("speech_commands"), {})
    from torchaudio.sox_effects import apply_effects_file

    assert apply_effects_file is sox.apply_effects_file


def test_the_list_of_speakers_files_lies_in_the_experiment(monkeypatch, tmp_path):
    dataset = ModuleType("s3prl.downstream.voxceleb1.dataset")
    dataset.CACHE_PATH = "inside the installed package"
    monkeypatch.setitem(sys.modules, dataset.__name__, dataset)
    assert mends.redirect_speaker_cache(arguments("asr"), {}) is None
    assert mends.redirect_speaker_cache(arguments("voxceleb1", expdir=str(tmp_path)), {})
    assert dataset.CACHE_PATH.startswith(str(tmp_path))


def test_a_short_run_evaluates_and_saves_at_its_end():
    config = {"runner": {"total_steps": 10, "eval_step": 2000, "save_step": 5}}
    assert mends.reach_an_evaluation(arguments(), config)
    assert config["runner"] == {"total_steps": 10, "eval_step": 10, "save_step": 5}
    assert mends.reach_an_evaluation(arguments(), config) is None


@pytest.fixture
def runner(monkeypatch):
    """S3PRL's runner as far as it saves."""
    module = ModuleType("s3prl.downstream.runner")
    module.torch, module.os = torch, os
    for name, stand_in in {
        "s3prl": ModuleType("s3prl"),
        "s3prl.downstream": ModuleType("s3prl.downstream"),
        "s3prl.downstream.runner": module,
    }.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    return module


def test_old_checkpoints_go_when_the_new_one_is_there(runner, tmp_path):
    assert mends.save_whole_checkpoints(arguments(mode="evaluate"), {}) is None
    assert runner.torch is torch
    assert mends.save_whole_checkpoints(arguments(mode="train"), {})
    names = ["dev-best.ckpt", "states-2.ckpt"]
    for name in names:
        runner.torch.save({"Step": 2}, runner.os.path.join(str(tmp_path), name))
    assert runner.torch.load(tmp_path / names[1], weights_only=True) == {"Step": 2}
    runner.os.remove(str(tmp_path / "states-2.ckpt"))
    runner.torch.save({"Step": 4}, str(tmp_path / "dev-best.ckpt"))
    assert (tmp_path / "states-2.ckpt").exists(), "the new one is not there yet"
    runner.torch.save({"Step": 4}, str(tmp_path / "states-4.ckpt"))
    assert sorted(os.listdir(tmp_path)) == ["dev-best.ckpt", "states-4.ckpt"]


def test_a_checkpoint_that_is_written_again_stays(runner, tmp_path):
    mends.save_whole_checkpoints(arguments(mode="train"), {})
    path = str(tmp_path / "states-4.ckpt")
    runner.torch.save({"Step": 4}, path)
    runner.os.remove(path)
    runner.torch.save({"Step": 4}, path)
    assert os.listdir(tmp_path) == ["states-4.ckpt"]


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, RuntimeError])
def test_a_save_that_is_cut_leaves_what_was_there(runner, tmp_path, monkeypatch, stopped_by):
    mends.save_whole_checkpoints(arguments(mode="train"), {})
    for name in ("dev-best.ckpt", "states-2.ckpt"):
        runner.torch.save({"Step": 2}, str(tmp_path / name))

    def cut(states, path):
        with open(path, "wb") as stream:
            stream.write(b"PK half of it")
        raise stopped_by

    monkeypatch.setattr(torch, "save", cut)
    runner.os.remove(str(tmp_path / "states-2.ckpt"))
    error = KDError if stopped_by is RuntimeError else stopped_by
    for name in ("dev-best.ckpt", "states-4.ckpt"):
        with pytest.raises(error):
            runner.torch.save({"Step": 4}, str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["dev-best.ckpt", "states-2.ckpt"]
    for path in tmp_path.iterdir():
        assert torch.load(path, weights_only=True) == {"Step": 2}


def test_the_given_checkpoint_wins_over_the_stored_one():
    args = arguments(upstream_ckpt="on/another/machine")
    assert mends.use_given_checkpoint(args, {}, None) is None
    assert "on/another/machine" in mends.use_given_checkpoint(args, {}, "here")
    assert args.upstream_ckpt == "here"


def test_only_announcements_of_the_toolkits_are_hidden():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        mends.quiet_deprecations()
        for module in ("s3prl.downstream.runner", "torchaudio._backend.utils", "espnet_kd.x"):
            warnings.warn_explicit("f is deprecated", UserWarning, "f", 1, module)
            warnings.warn_explicit("a real problem", UserWarning, "f", 1, module)
    told = [str(warning.message) for warning in seen]
    assert told.count("f is deprecated") == 1
    assert told.count("a real problem") == 3


def test_each_repair_is_said_once(capsys):
    mends.report(["first said here", None, "first said here"])
    mends.report(["first said here"])
    assert capsys.readouterr().err.count("first said here") == 1
