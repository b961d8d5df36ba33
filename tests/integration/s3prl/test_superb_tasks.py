"""All ten tasks of SUPERB end to end, on tiny corpora of the right layouts made on the spot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from espnet_kd.data.superb import prepare_superb
from espnet_kd.errors import ConfigError
from s3prl_upstreams.run_downstream import main, run
from s3prl_upstreams.tasks import TASKS

pytestmark = pytest.mark.integration

EXPERT = "config.downstream_expert"
SHORT = "config.runner.total_steps=4,,config.runner.gradient_accumulate_steps=1"
LSTM = "project_dim=16,,{0}.RNNs.dim=[16, 16]"
SMALL = {
    "PR": f"{EXPERT}.corpus.num_workers=0,,{EXPERT}.corpus.batch_size=4",
    "ASR": f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.datarc.batch_size=4,,"
    f"{EXPERT}.modelrc.{LSTM.format(f'{EXPERT}.modelrc')}",
    "KS": f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.datarc.batch_size=4",
    "QbE": f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.max_workers=1",
    "SID": f"{EXPERT}.datarc.num_workers=0",
    "ASV": f"{EXPERT}.datarc.num_workers=0,,{EXPERT}.modelrc.input_dim=16,,"
    f"{EXPERT}.modelrc.module_config.XVector.agg_dim=24,,config.runner.save_step=2",
    "SD": f"{EXPERT}.loaderrc.num_workers=0,,{EXPERT}.modelrc.hidden_size=16",
    "IC": f"{EXPERT}.datarc.num_workers=0",
    "SF": f"{EXPERT}.corpus.num_workers=0,,{EXPERT}.corpus.batch_size=4,,"
    f"{EXPERT}.corpus.train_speakers=[],,{EXPERT}.corpus.valid_speakers=[],,"
    f"{EXPERT}.corpus.test_speakers=[],,{EXPERT}.model.{LSTM.format(f'{EXPERT}.model')}",
    "ER": f"{EXPERT}.datarc.num_workers=0",
}
PREDICTIONS = {
    "PR": "test-hyp.ark",
    "ASR": "test-clean-noLM-hyp.ark",
    "KS": "test_predict.txt",
    "QbE": "test/benchmark.stdlist.xml",
    "SID": "test_predict.txt",
    "ASV": "test_predict.txt",
    "SD": "scoring/predictions/*.h5",
    "IC": "test_predict.csv",
    "SF": "test-hyp.ark",
    "ER": "fold5/test_fold5_predict.txt",
}


@pytest.fixture(scope="session")
def superb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("superb")
    prepare_superb("synthetic", folder, size="tiny", processes=1)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(task, student, data):
    changes = SMALL[task] if task == "QbE" else f"{SMALL[task]},,{SHORT}"
    words = ["-u", "armhubert", "-k", str(student), "-d", task, "--data", str(data)]
    return [*words, "-p", "exp", "-o", changes]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_train_evaluate_score_and_go_on(task, superb, student, capsys, monkeypatch):
    scores = run(command(task.name, student, superb))
    assert [score.metric for score in scores] == [metric.name for metric in task.metrics]
    saved = json.loads(Path("exp/score.json").read_text())
    assert saved["value"] == scores[0].value
    assert scores[0].line() in capsys.readouterr().out
    assert list(Path("exp").glob(PREDICTIONS[task.name])), "the leaderboard's file"
    made = [*Path("exp").rglob("Voxceleb1_length.pt"), *Path("exp").rglob("meta_data-*")]
    assert len(made) == (task.name in ("ASV", "ER")), "once for all checkpoints and folds"

    # The same command with -a finds all trained, and the same score.
    again = run([*command(task.name, student, superb), "-a"])
    assert [score.value for score in again] == [score.value for score in scores]


@pytest.mark.parametrize(
    # Of each run: S3PRL tries the upstream on a wave, and the cache of utterances on three.
    ("task", "probes"),
    [("SF", 2 * 4), ("ASV", 3 * 4), ("QbE", 6 * 1)],
)
def test_cached_features_give_the_same_score(task, probes, superb, layer_norm_student, waves_seen):
    stock = run(command(task, layer_norm_student, superb))
    options = ["--feature_cache", "auto", "--feature_cache_dir", "cache"]
    computed = [sum(map(len, waves_seen))]
    for exp in ("first", "second"):
        waves_seen.clear()
        words = command(task, layer_norm_student, superb)
        words[words.index("exp")] = exp
        scores = run([*words, *options])
        computed.append(sum(map(len, waves_seen)))
        assert [score.value for score in scores] == pytest.approx([s.value for s in stock])
        assert (scores[0].features == "stock") == (task == "QbE"), "whole batches or utterances"
    assert computed[2] == probes < computed[1] < computed[0]


def test_diarisation_on_its_development_split(superb, student, capsys):
    """A sweep asks dev, not the test set; S3PRL writes nothing for dev that DER is counted from."""
    (score,) = run([*command("SD", student, superb), "--lr_sweep", "1e-3,1e-4"])
    assert (score.metric, score.split) == ("DER", "test")
    dev = {
        path.parent.name: json.loads(path.read_text()) for path in Path("exp").glob("*/dev.json")
    }
    assert {(found["metric"], found["split"]) for found in dev.values()} == {
        ("frame accuracy", "dev")
    }
    best = max(("lr_1e-3", "lr_1e-4"), key=lambda rate: dev[rate]["value"])
    assert score.checkpoint == f"exp/{best}/best-states-dev.ckpt"
    (found,) = run(["-m", "evaluate", "-t", "dev", "-e", score.checkpoint])
    assert found.metric == "frame accuracy"
    assert found.value == pytest.approx(dev[best]["value"])


def test_a_killed_training_keeps_its_best_score_on_dev(superb, student, monkeypatch):
    from s3prl.downstream.fluent_commands import expert

    log, accuracies = (
        expert.DownstreamExpert.log_records,
        iter([0.5, 0.9, None, 0.2, 0.3, 0.1, 0.1]),
    )

    def logged(self, mode, records, **rest):
        if mode == "dev":
            accuracy = next(accuracies)
            if accuracy is None:
                raise KeyboardInterrupt
            records["acc"] = [accuracy]
        return log(self, mode, records=records, **rest)

    def kept():
        return json.loads(Path("exp/dev.json").read_text())["value"]

    monkeypatch.setattr(expert.DownstreamExpert, "log_records", logged)
    words = ["-m", "train", *command("IC", student, superb)]
    words[-1] += ",,config.runner.eval_dataloaders=['dev'],,config.runner.eval_step=1"
    words[-1] += ",,config.runner.save_step=1"
    with pytest.raises(KeyboardInterrupt):
        run(words)
    assert kept() == pytest.approx(90.0)
    run([*words, "-a"])
    assert kept() == pytest.approx(90.0), "two further evaluations were worse"
    words[-1] += ",,config.runner.total_steps=2"
    run(words)
    assert kept() == pytest.approx(10.0), "another training"


def test_asr_with_a_language_model(superb, student, tmp_path):
    """LibriSpeech's 4-gram in small: decoding by flashlight, into files of its own."""
    pytest.importorskip("flashlight.lib.text.decoder")
    transcripts = [p.read_text().split("\n") for p in superb.rglob("LibriSpeech/**/*.trans.txt")]
    words = sorted({w for lines in transcripts for line in lines for w in line.split()[1:]})
    Path("lexicon.lst").write_text("".join(f"{w}\t{' '.join(w)} |\n" for w in words))
    unigrams = "".join(f"-1.0\t{word}\t-0.1\n" for word in ["<s>", *words])
    Path("lm.arpa").write_text(
        f"\\data\\\nngram 1={len(words) + 3}\nngram 2=1\n\n\\1-grams:\n{unigrams}"
        f"-1.0\t</s>\n-2.0\t<unk>\n\n\\2-grams:\n-0.2\t<s> {words[0]}\n\n\\end\\\n"
    )
    (score,) = run(command("ASR", student, superb))
    decoder = f"{EXPERT}.datarc.decoder_args"
    change = f"args.expdir='{tmp_path / 'lm'}',,{decoder}.decoder_type='kenlm'"
    evaluate = ["-m", "evaluate", "-e", score.checkpoint, "-t", "test-clean"]
    with pytest.raises(ConfigError, match="decoder_args.kenlm_model: no file was given"):
        run([*evaluate, "-o", change])
    files = f"{decoder}.kenlm_model='lm.arpa',,{decoder}.lexicon='lexicon.lst'"
    (with_lm,) = run([*evaluate, "-o", f"{change},,{files}"])
    assert with_lm.metric == "WER"
    assert (tmp_path / "lm" / "test-clean-LM-hyp.ark").is_file()


def test_a_bad_recording_in_the_middle_of_a_training(superb, student, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(superb / "fluent_speech_commands_dataset", data)
    for path in data.rglob("*.wav"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave, rate)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    assert main(command("IC", student, data)) == 1
    said = capsys.readouterr().err
    assert "truncated: the header promises" in said
    assert "Traceback" not in said
