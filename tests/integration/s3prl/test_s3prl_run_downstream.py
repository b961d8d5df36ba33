"""SUPERB tasks end to end through the wrapper: train, evaluate, resume, on tones."""

from __future__ import annotations

import json
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import CheckpointError, ConfigError
from s3prl_upstreams import hub
from s3prl_upstreams.expert import UpstreamExpert
from s3prl_upstreams.run_downstream import main, run

pytestmark = pytest.mark.integration

EXPERT = "config.downstream_expert"
SMALL = {
    "asr": (
        f"{EXPERT}.modelrc.project_dim=16,,{EXPERT}.modelrc.RNNs.dim=[16, 16],,"
        f"{EXPERT}.datarc.batch_size=2,,{EXPERT}.datarc.num_workers=0"
    ),
    "pr": f"{EXPERT}.corpus.num_workers=0,,config.runner.gradient_accumulate_steps=1",
    "ks": f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.datarc.batch_size=4",
    "sid": f"{EXPERT}.datarc.num_workers=0,,config.runner.gradient_accumulate_steps=1",
}
TEST_SPLIT = {"asr": "test-clean", "pr": "test", "ks": "test", "sid": "test"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Relative paths of S3PRL's files must not matter; and nothing is left in the repository."""
    monkeypatch.chdir(tmp_path)


def steps(task, number, more=""):
    return ["-o", f"{SMALL[task]},,config.runner.total_steps={number}{more}"]


def read_states(path):
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, weights_only=True)


@pytest.mark.parametrize("task", SMALL)
def test_train_evaluate_and_resume(task, corpora, student, capsys):
    words = ["-u", "armhubert", "-k", str(student), "-d", task, "--data", str(corpora), "-p", "exp"]
    # Without -m: trains, then evaluates.
    (score,) = run([*words, *steps(task, 3)])
    assert score.split == TEST_SPLIT[task]
    out = capsys.readouterr().out
    assert f"score: {task.upper()} " in out
    saved = json.loads(Path("exp/score.json").read_text())
    assert saved["value"] == score.value
    assert saved["upstream_ckpt"] == str(student)

    # -m evaluate of the same checkpoint in a new call gives the same number.
    (again,) = run(["-m", "evaluate", "-e", score.checkpoint, "-t", score.split])
    assert again == score

    # -m train -a continues where the run stood.
    run(["-m", "train", *words, *steps(task, 5, ",,config.runner.save_step=5"), "-a"])
    states = sorted(path.name for path in Path("exp").glob("states-*.ckpt"))
    assert states == ["states-5.ckpt"], "S3PRL keeps max_keep states"
    optimizer = read_states(f"exp/{states[0]}")["Optimizer"]
    assert {int(state["step"]) for state in optimizer["state"].values()} == {5}


def test_a_kill_during_a_save_costs_one_interval(corpora, student, monkeypatch, capsys):
    """S3PRL's own way would have removed the checkpoint before and left half of the new one."""
    words = ["-u", "armhubert", "-k", str(student), "-d", "sid", "--data", str(corpora)]
    words += ["-p", "exp", *steps("sid", 6, ",,config.runner.save_step=2"), "-m", "train"]
    write = torch.save

    def cut(states, path):
        write(states, path)
        if states["Step"] == 4:
            os.truncate(path, os.path.getsize(path) // 2)
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut)
    assert main(words) == 130
    assert [path.name for path in Path("exp").glob("*.ckpt")] == ["states-2.ckpt"]
    monkeypatch.setattr(torch, "save", write)
    shutil.copy("exp/states-2.ckpt", "exp/states-4.ckpt")  # as older versions left it
    os.truncate("exp/states-4.ckpt", 1000)
    run([*words, "-a"])
    assert "exp/states-4.ckpt is cut off" in capsys.readouterr().err
    (states,) = Path("exp").glob("states-*.ckpt")
    optimizer = read_states(states)["Optimizer"]
    assert {int(state["step"]) for state in optimizer["state"].values()} == {6}

    os.truncate(states, 1000)
    (Path("exp") / "dev-best.ckpt").unlink(missing_ok=True)
    assert main([*words, "-a"]) == 1
    said = capsys.readouterr().err
    assert "states-6.ckpt is cut off" in said
    assert "Traceback" not in said


def test_an_experiment_that_was_moved_writes_where_it_is(corpora, student):
    words = ["-u", "armhubert", "-k", str(student), "-d", "ks", "--data", str(corpora)]
    run(["-m", "train", *words, "-p", "before", *steps("ks", 2, ",,config.runner.save_step=1")])
    Path("before").rename("now")
    more = steps("ks", 3, ",,config.runner.save_step=1")
    run(["-m", "train", *words, "-p", "now", *more, "-a"])
    assert Path("now/states-3.ckpt").is_file()
    (score,) = run(["-e", "now/states-3.ckpt", "-m", "evaluate"])
    run(["-e", "now/states-3.ckpt", "-m", "evaluate", "-p", "elsewhere"])
    for folder in ("now", "elsewhere"):
        assert json.loads(Path(folder, "score.json").read_text())["value"] == score.value
    assert not Path("before").exists()


def test_a_head_does_not_go_on_with_other_weights(corpora, student, capsys):
    shutil.copytree(student, "student")
    words = ["-u", "armhubert", "-k", "student", "-d", "ks", "--data", str(corpora), "-p", "exp"]
    run(["-m", "train", *words, *steps("ks", 2, ",,config.runner.save_step=1")])
    again = ["-m", "train", *words, *steps("ks", 3), "-a"]
    encoder = SpeechEncoder.from_pretrained("student")
    encoder.encoder_norm.weight.data.mul_(0.9)
    encoder.save_pretrained("student")
    assert main(again) == 1
    assert "exp/states-2.ckpt was trained on other weights than" in capsys.readouterr().err
    assert main(["-m", "evaluate", "-e", "exp/states-2.ckpt"]) == 0
    assert "warning: the head in exp/states-2.ckpt" in capsys.readouterr().err


def test_remembered_features_change_nothing(corpora, student, monkeypatch):
    """ASR's batches come again each epoch: the weights are the same bit for bit, with less work."""
    passes = []
    forward = UpstreamExpert.forward

    def counted(self, wavs):
        passes[-1] += 1
        return forward(self, wavs)

    monkeypatch.setattr(UpstreamExpert, "forward", counted)
    words = ["-m", "train", "-u", "armhubert", "-k", str(student), "-d", "asr"]
    words += ["--data", str(corpora), *steps("asr", 12)]
    for memory in ("0", "0.1"):
        passes.append(0)
        run([*words, "-p", f"exp{memory}", "--feature_memory", memory])
    with_memory, without = (read_states(f"exp{m}/states-12.ckpt") for m in ("0.1", "0"))
    assert passes[1] < passes[0]
    for part in ("Downstream", "Featurizer"):
        assert with_memory[part].keys() == without[part].keys()
        for name, weight in without[part].items():
            assert torch.equal(with_memory[part][name], weight), name


def test_quick_lstm_only_saves_time(corpora, student, capsys):
    """The same score, weights equal up to rounding; torch's own LSTM evaluates the checkpoint."""
    words = ["-u", "armhubert", "-k", str(student), "-d", "asr", "--data", str(corpora)]
    words += steps("asr", 8, ",,config.optimizer.lr=1e-3")
    scores = []
    for option in ("--no_quick_lstm", "--quick_lstm"):
        scores += run([*words, "-p", f"exp{option}", option])
        said = "nn.LSTM train by our backward pass" in capsys.readouterr().err
        assert said == (option == "--quick_lstm")
    assert scores[0].value == scores[1].value
    stock, quick = (read_states(score.checkpoint)["Downstream"] for score in scores)
    assert list(stock) == list(quick)
    for name, weight in stock.items():
        torch.testing.assert_close(quick[name], weight, rtol=1e-4, atol=1e-5)


def test_speakers_are_learnt(corpora, student):
    """Two voices at two pitches: a data path that mixed things up would stay at 50 %."""
    words = ["-u", "kd_student", "-k", str(student), "-d", "sid", "--data", str(corpora)]
    options = ",,config.optimizer.lr=0.05,,config.runner.log_step=20"
    (score,) = run([*words, "-p", "exp", *steps("sid", 40, options)])
    assert score.value == 100.0
    truth = Path("exp/test_truth.txt").read_text()
    assert Path("exp/test_predict.txt").read_text() == truth


def test_fewer_files_than_a_batch_end_the_run(corpora, student, capsys):
    """S3PRL would go round an empty loader for ever."""
    words = ["-u", "armhubert", "-k", str(student), "-d", "ks", "--data", str(corpora)]
    options = f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.datarc.batch_size=32"
    assert main([*words, "-p", "exp", "-o", options]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "split train has 12 file(s), fewer than one batch of 32" in said
    assert f"-o {EXPERT}.datarc.batch_size=12" in said


def test_the_original_command_line(corpora, published):
    """``-k x.ckpt -g x.yaml``, as in the README of the published repository."""
    ckpt, yaml = map(str, published)
    words = ["-m", "train", "-u", "armhubert", "-k", ckpt, "-g", yaml, "-d", "voxceleb1"]
    run([*words, "--data", str(corpora), "-n", "x", *steps("sid", 2)])
    states = Path("result/downstream/x/states-2.ckpt")
    args = read_states(states)["Args"]
    assert (args.upstream_ckpt, args.upstream_model_config) == (ckpt, yaml)
    (score,) = run(["-m", "evaluate", "-e", str(states)])
    assert score.upstream_ckpt == ckpt


def test_the_authors_variant(corpora, student):
    words = ["-m", "train", "-u", "armhubert", "-k", str(student), "-d", "sid", "-p", "exp"]
    run([*words, "--data", str(corpora), "--superb_variant", "armhubert", *steps("sid", 2)])
    state = read_states("exp/states-2.ckpt")
    assert state["Config"]["optimizer"]["lr"] == 1e-3
    assert state["Scheduler"]["base_lrs"] == [1e-3]
    assert state["Scheduler"]["_last_lr"] == [2 / 5000 * 1e-3]


def test_the_best_of_two_learning_rates(corpora, student):
    """One learns the two voices, one nothing; again with -a, nothing is done."""
    words = ["-u", "armhubert", "-k", str(student), "-d", "sid", "--data", str(corpora)]
    words += [*steps("sid", 40, ",,config.runner.log_step=20"), "-p", "exp"]
    words += ["--lr_sweep", "1e-9 0.05"]
    (score,) = run(words)
    assert score.value == 100.0
    assert "lr_0.05" in score.checkpoint
    assert json.loads(Path("exp/lr_1e-9/dev.json").read_text())["value"] < 100.0
    assert Path("exp/test_predict.txt").read_text() == Path("exp/test_truth.txt").read_text()
    written = Path("exp/lr_0.05/states-40.ckpt").stat().st_mtime_ns
    assert run([*words, "-a"]) == [score]
    assert Path("exp/lr_0.05/states-40.ckpt").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match="without -m"):
        run([*words, "-m", "train"])


def test_a_published_pruned_file_in_half_precision(corpora, pruned):
    words = ["-u", "dpwavlm", "-k", str(pruned), "-d", "sid", "--data", str(corpora), "-p", "exp"]
    (score,) = run([*words, "--upstream_dtype", "bfloat16", *steps("sid", 2)])
    assert score.upstream == "dpwavlm"
    assert hub.OPTIONS == {}
    layer_weights = read_states(score.checkpoint)["Featurizer"]["weights"]
    assert layer_weights.shape == (4,)
    assert layer_weights.dtype == torch.float32


def test_a_moved_student_is_given_again(corpora, student, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in student.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    words = ["-u", "armhubert", "-k", str(copy), "-d", "sid", "--data", str(corpora), "-p", "exp"]
    (score,) = run([*words, *steps("sid", 2)])
    for file in copy.iterdir():
        file.unlink()
    copy.rmdir()
    evaluate = ["-m", "evaluate", "-e", score.checkpoint]
    with pytest.raises(CheckpointError, match="copy is not there"):
        run(evaluate)
    (again,) = run([*evaluate, "-k", str(student)])
    assert again.value == score.value


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["-d", "sid"], ConfigError, "-u NAME is missing"),
        (["-u", "armhubert"], ConfigError, "-d TASK is missing"),
        (["-u", "armhubert", "-d", "mosei"], ConfigError, "no default file for 'mosei'"),
        (["-u", "armhubert", "-d", "asr"], ConfigError, "datarc.libri_root: no folder"),
        (["-u", "armhubert", "-d", "sid", "--data", "CORPORA"], CheckpointError, "-k takes"),
        (["-u", "armhubert", "-d", "sid", "--superb_variant", "x"], ConfigError, "no variant"),
        (["-u", "x", "-d", "sid", "--local-rank", "0"], ConfigError, "several processes"),
        (["-u", "x", "-d", "sid", "--data", "CORPORA"], CheckpointError, "no upstream 'x'"),
        (["-u", "x", "-d", "sid", "-c", "c", "--superb_variant", "y"], ConfigError, "-c or -e"),
        (["-u", "fbank", "-d", "sid", "--upstream_dtype", "bfloat16"], ConfigError, "only our"),
    ],
)
def test_what_is_missing_is_said(words, error, message, corpora):
    words = [str(corpora) if word == "CORPORA" else word for word in words]
    with pytest.raises(error, match=message):
        run(words)


def test_a_problem_is_one_line_and_a_status(capsys):
    assert main(["-d", "sid"]) == 1
    assert capsys.readouterr().err.startswith("run_downstream: ")
