"""A Whisper is distilled, resumed, fine-tuned and decoded under ESPnet's own machinery."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from children import Outcome, finish, start

from tests.unit.tasks.whisper_corpus import (
    labelled,
    tiny_student,
    tiny_teacher,
    write_transcribed,
)

pytestmark = pytest.mark.integration

# Dropout, prompts and timestamps drawn anew, accumulation with a remainder: all must repeat.
METHOD = {
    "freeze_encoder": True,
    "timestamp_probability": 0.5,
    "condition_on_prev_probability": 0.5,
    "generation_max_length": 12,
}
RUN = (
    *("--kd_conf", METHOD, "--student_conf", "dropout=0.1", "--max_epoch", 3, "--accum_grad", 2),
    *("--keep_nbest_models", 2),
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and labelled folders of 11 and 4 utterances."""
    import espnet_kd.tasks.whisper_distill  # noqa: F401
    from espnet_kd.whisper import save_whisper

    root = tmp_path_factory.mktemp("whisper")
    save_whisper(tiny_teacher(), root / "teacher")
    save_whisper(tiny_student(), root / "student")
    labelled(root / "train", 11)
    labelled(root / "valid", 4)
    return root


def words_of(material: Path, folder: Path, *extra: object) -> list[str]:
    """A command line."""
    words = (
        *("--student", material / "student", "--teacher", material / "teacher"),
        *("--train_dir", material / "train", "--valid_dir", material / "valid"),
        *("--output_dir", folder, "--batch_size", 2, "--num_workers", 0, "--seed", 1),
        *("--optim_conf", "lr=0.003", "--log_interval", 1),
        *("--use_matplotlib", "false", "--use_tensorboard", "false"),
    )
    return [str(word) for word in (*words, *extra)]


def training(
    material: Path, folder: Path, *extra: object, before: Callable[[], None] | None = None
) -> Callable[[], int]:
    """What a child does."""

    def child() -> int:
        from espnet_kd.bin.whisper_distill_train import main

        if before is not None:
            before()
        return main(words_of(material, folder, *extra))

    return child


@pytest.fixture(scope="module")
def unbroken(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A finished run, and what it said."""
    folder = tmp_path_factory.mktemp("unbroken") / "exp"
    log = folder.parent / "log"
    outcome = finish(start(training(material, folder, *RUN), log), log)
    assert outcome.code == 0, outcome.output
    return folder, outcome


def weights(folder: Path, name: str = "checkpoint.pth") -> dict[str, Any]:
    saved = torch.load(folder / name, weights_only=False)
    return saved["model"] if name == "checkpoint.pth" else saved


def found(output: str, key: str, part: str) -> list[float]:
    """A number of each epoch, as ESPnet logs it."""
    return [float(x) for x in re.findall(rf"results: .*?\[{part}\] .*?\b{key}=([-\d.e+]+)", output)]


def test_run_learns_and_leaves_a_whisper(unbroken: tuple[Path, Outcome]) -> None:
    from transformers import WhisperForConditionalGeneration

    folder, outcome = unbroken
    assert "student and teacher teacher have one encoder: it runs once for both" in outcome.output
    assert "11 of 11 utterances" in outcome.output
    losses = found(outcome.output, "loss", "valid")
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    for key in ("loss_ce", "loss_kl", "wer", "wer_ortho"):
        assert len(found(outcome.output, key, "valid")) == 3, key
    # 6 batches, accum_grad 2: 3 updates per epoch.
    saved = weights(folder)
    assert int(saved["num_updates"]) == 9
    assert all(name.startswith("student.") for name in saved if name != "num_updates")
    mean = weights(folder, "valid.wer.ave_2best.pth")
    student = WhisperForConditionalGeneration.from_pretrained(folder / "student")
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, mean[f"student.{name}"]), name
    names = {path.name for path in (folder / "student").iterdir()}
    assert names >= {
        "config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
        "tokenizer.json",
    }  # fmt: skip
    lines = (folder / "validation" / "3epoch.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 4


def students(folder: Path) -> list[str]:
    """Names of the folders of single epochs, the best one last."""
    from espnet_kd.whisper.checkpoint_names import worst_first

    return worst_first(path.name for path in (folder / "students").iterdir())


def test_the_best_epochs_are_whispers_too(unbroken: tuple[Path, Outcome]) -> None:
    from espnet_kd.whisper import load_whisper

    folder, outcome = unbroken
    rates = found(outcome.output, "wer", "valid")
    names = students(folder)
    epochs = [int(re.findall(r"-epoch-(\d+)-", name)[0]) for name in names]
    ranked = sorted(range(1, 4), key=lambda epoch: (rates[epoch - 1], epoch))
    assert epochs == ranked[1::-1]
    assert names == [
        f"checkpoint-{3 * epoch}-epoch-{epoch}-val-wer-{rates[epoch - 1]:.3f}" for epoch in epochs
    ]
    assert outcome.output.count(f"written to {folder / 'students'}") >= 2
    best = load_whisper(folder / "students" / names[-1])
    saved = weights(folder, "valid.wer.best.pth")
    for name, tensor in best.model.state_dict().items():
        assert torch.equal(tensor, saved[f"student.{name}"]), name
    assert best.model.generation_config.decoder_start_token_id == best.specials.start


def test_frozen_encoder_is_the_teachers(unbroken: tuple[Path, Outcome], material: Path) -> None:
    from espnet_kd.whisper import load_whisper

    teacher = load_whisper(material / "teacher").model.state_dict()
    student = load_whisper(unbroken[0] / "student_last").model.state_dict()
    same = {
        name
        for name, tensor in student.items()
        if torch.equal(tensor, teacher.get(name, tensor[:0]))
    }
    assert {name for name in student if name.startswith("model.encoder.")} <= same
    assert "model.decoder.embed_tokens.weight" not in same


def test_kill_and_resume_is_exact(
    forked: Callable[..., Outcome], material: Path, unbroken: tuple[Path, Outcome], tmp_path: Path
) -> None:
    def kill_at_batch() -> None:
        from espnet_kd.tasks.guard import FiniteGuard

        count, before = 0, FiniteGuard.before_forward

        def counting(self: FiniteGuard) -> None:
            nonlocal count
            count += 1
            if count == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            before(self)

        FiniteGuard.before_forward = counting

    folder = tmp_path / "exp"
    killed = forked(training(material, folder, *RUN, before=kill_at_batch))
    assert killed.code == 128 + signal.SIGKILL
    # In its second epoch: a student of the first one is ready.
    assert [name.split("-val-")[0] for name in students(folder)] == ["checkpoint-3-epoch-1"]
    again = forked(training(material, folder, *RUN))
    assert again.code == 0, again.output
    assert "The training was resumed" in again.output
    expected, resumed = weights(unbroken[0]), weights(folder)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    ours, theirs = (f / "student" / "model.safetensors" for f in (folder, unbroken[0]))
    assert ours.read_bytes() == theirs.read_bytes()
    written = [f / "validation" / "3epoch.jsonl" for f in (folder, unbroken[0])]
    assert written[0].read_text("utf-8") == written[1].read_text("utf-8")
    assert students(folder) == students(unbroken[0])


def test_an_epoch_can_be_exported(
    forked: Callable[..., Outcome], unbroken: tuple[Path, Outcome], tmp_path: Path
) -> None:
    from espnet_kd.bin.export import main
    from espnet_kd.whisper import load_whisper

    target = tmp_path / "third"
    words = ["--exp", str(unbroken[0]), "--epoch", "3", "--dst", str(target)]
    outcome = forked(lambda: main(words))
    assert outcome.code == 0, outcome.output
    exported = load_whisper(target).model.state_dict()
    saved = weights(unbroken[0], "3epoch.pth")
    assert all(torch.equal(tensor, saved[f"student.{name}"]) for name, tensor in exported.items())


def test_fine_tuning_on_transcripts_without_a_teacher(
    forked: Callable[..., Outcome], material: Path, tmp_path: Path
) -> None:
    plain = write_transcribed(tmp_path / "plain", {f"p{i}": "one two three" for i in range(4)})
    conf = {"use_pseudo_labels": False, "language": "en", "predict_with_generate": False,
            "gradient_checkpointing": True, "train_dataset_samples": [3, 1]}  # fmt: skip
    other = write_transcribed(tmp_path / "other", {f"p{i}": "four" for i in range(2)})
    outcome = forked(
        training(
            material,
            tmp_path / "exp",
            *("--teacher", "none", "--kd_conf", conf, "--max_epoch", 2),
            *("--train_dir", plain, other, "--num_workers", 1),
            *("--scheduler", "constant_with_warmup", "--scheduler_conf", "warmup_steps=1"),
        )
    )
    assert outcome.code == 0, outcome.output
    assert "an epoch has 4 of plain (which has 4), 2 of other (which has 2)" in outcome.output
    assert "loss_kl" not in outcome.output
    losses = found(outcome.output, "loss", "train")
    assert losses[-1] < losses[0]
    assert (tmp_path / "exp" / "valid.loss.best.pth").exists()


def test_two_processes_make_the_same_updates_as_one(
    forked: Callable[..., Outcome], material: Path, tmp_path: Path
) -> None:
    """gloo; labels of different lengths, so that the mean over tokens matters."""
    port = 20000 + os.getpid() % 20000
    conf = {**METHOD, "timestamp_probability": 0, "condition_on_prev_probability": 1}
    run = ("--kd_conf", conf, "--max_epoch", 1, "--accum_grad", 2)

    def rank(number: int) -> Callable[[], int]:
        def environment() -> None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet would read it as the rank
            os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))

        words = ("--dist_world_size", 2, "--dist_rank", number, "--dist_backend", "gloo")
        return training(material, tmp_path / "two", *run, *words, "--ngpu", 0, before=environment)

    logs = [tmp_path / f"rank{number}.log" for number in range(2)]
    children = [start(rank(number), logs[number]) for number in range(2)]
    outcomes = [finish(pid, log) for pid, log in zip(children, logs, strict=True)]
    assert [o.code for o in outcomes] == [0, 0], outcomes[0].output + outcomes[1].output
    # The eleventh utterance cannot be shared; without it one process does the same.
    one = forked(training(material, tmp_path / "one", *run, "--drop_last_iter", "true"))
    assert one.code == 0, one.output
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, atol=2e-5, rtol=1e-4)
    files = [tmp_path / name / "validation" / "1epoch.jsonl" for name in ("one", "two")]
    assert files[0].read_text("utf-8") == files[1].read_text("utf-8")


def test_teacher_of_another_vocabulary_is_refused(
    forked: Callable[..., Outcome], material: Path, tmp_path: Path
) -> None:
    from espnet_kd.whisper import save_whisper
    from tests.unit.whisper.tiny import tiny_bundle

    english = tmp_path / "english"
    save_whisper(tiny_bundle(multilingual=False, max_source_positions=50), english)
    outcome = forked(training(material, tmp_path / "exp", "--teacher", english))
    assert outcome.code == 1
    assert "the student has 51865 tokens, the teacher 51864" in outcome.output
    assert "Traceback" not in outcome.output


# --- Stock ESPnet ASR
README = Path(__file__).resolve().parents[3] / "README.md"


def asr_config(material: Path) -> dict[str, Any]:
    """The README's example for our student, in English, and a short run."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", README.read_text("utf-8"), flags=re.M | re.S)
    (example,) = [block for block in blocks if "kd_whisper_encoder" in block]
    student = str(material / "student")
    config: dict[str, Any] = yaml.safe_load(example.replace(" hi}", " en}"))
    for part in ("encoder_conf", "decoder_conf"):
        assert config[part]["pretrained"] == "student"
        config[part]["pretrained"] = student
    config["model_conf"] |= {"report_cer": False, "report_wer": False}
    return config | {
        "bpemodel": student,
        "optim": "adamw",
        "optim_conf": {"lr": 0.002},
        "max_epoch": 2,
        "batch_type": "unsorted",
        "batch_size": 4,
        "num_workers": 0,
        "use_matplotlib": False,
        "use_tensorboard": False,
        "best_model_criterion": [["valid", "loss", "min"]],
        "keep_nbest_models": 1,
    }


def test_a_student_is_fine_tuned_and_decoded_by_stock_asr(
    forked: Callable[..., Outcome], material: Path, tmp_path: Path
) -> None:
    from espnet_kd.bin.espnet import main
    from espnet_kd.bin.whisper_token_list import main as write_tokens

    data = write_transcribed(tmp_path / "data", {f"p{i}": "one two" for i in range(6)})
    tokens, config, exp = tmp_path / "tokens.txt", tmp_path / "asr.yaml", tmp_path / "exp"
    assert write_tokens(["--model", str(material / "student"), "--out", str(tokens)]) == 0
    config.write_text(yaml.safe_dump(asr_config(material)))
    words: list[object] = ["--config", config, "--token_list", tokens, "--output_dir", exp]
    for part in ("train", "valid"):
        for name, kind in (("wav.scp", "speech,sound"), ("text", "text,text")):
            words += [f"--{part}_data_path_and_name_and_type", f"{data / name},{kind}"]
        words += [f"--{part}_shape_file", data / "utt2num_samples"]
    trained = forked(lambda: main(["asr_train", *map(str, words)]))
    assert trained.code == 0, trained.output
    losses = found(trained.output, "loss", "train")
    assert losses[-1] < losses[0]
    assert "loss_ctc=" in trained.output
    assert "loss_att=" in trained.output

    scp = tmp_path / "one.scp"
    scp.write_text((data / "wav.scp").read_text().splitlines()[0] + "\n")
    inference = (
        *("asr_inference", "--ngpu", 0, "--beam_size", 2, "--ctc_weight", 0.3),
        *("--maxlenratio", -8, "--data_path_and_name_and_type", f"{scp},speech,sound"),
        *("--asr_train_config", exp / "config.yaml", "--output_dir", tmp_path / "decoded"),
        *("--asr_model_file", exp / "valid.loss.ave.pth"),
    )
    decoded = forked(lambda: main([str(word) for word in inference]))
    assert decoded.code == 0, decoded.output
    ids = (tmp_path / "decoded" / "1best_recog" / "token_int").read_text().split()[1:]
    assert ids[:3] == ["50259", "50359", "50363"]  # en, transcribe, notimestamps
    text = (tmp_path / "decoded" / "1best_recog" / "text").read_text()
    assert "<|" not in text
