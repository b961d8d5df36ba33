"""A distillation run under ESPnet's own machinery."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from children import finish, start

pytestmark = pytest.mark.integration


def losses(output: str, part: str = "train") -> list[float]:
    """The loss of each epoch, as ESPnet logs it."""
    return [float(x) for x in re.findall(rf"\[{part}\] .*?\bloss=([-\d.e+]+)", output)]


def states(folder: Path, name: str = "checkpoint.pth") -> dict:
    return torch.load(folder / name, weights_only=False)


def test_run_learns_and_leaves_everything_espnet_leaves(train, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    outcome = train(
        folder,
        *("--max_epoch", 5, "--keep_nbest_models", 2, "--use_tensorboard", "true"),
        *("--log_interval", 1),
    )
    assert outcome.code == 0, outcome.output
    train_losses, valid_losses = losses(outcome.output)[-5:], losses(outcome.output, "valid")
    assert len(valid_losses) == 5
    assert valid_losses[-1] < valid_losses[0]
    for name in (
        "mask_hint_loss",
        "unmask_hint_loss",
        "mask_rec_loss",
        "unmask_rec_loss",
        "rec_loss",
    ):
        assert f"{name}=" in outcome.output
    assert train_losses
    for name in ("valid.loss.ave_2best.pth", "valid.loss.best.pth", "latest.pth", "checkpoint.pth"):
        assert (folder / name).exists()
    events = list((folder / "tensorboard").rglob("events*"))
    assert len(events) == 2
    assert all(path.stat().st_size > 100 for path in events)


def test_teacher_is_in_no_checkpoint_and_no_optimiser(distilled: Path) -> None:
    saved = states(distilled)
    weights = {name for name in saved["model"] if name != "num_updates"}
    assert weights
    assert all(name.startswith("student.") for name in weights)
    numbers = [n for group in saved["optimizers"][0]["param_groups"] for n in group["params"]]
    assert len(numbers) == len(weights)
    assert int(saved["model"]["num_updates"]) == 2 * 3  # epochs x batches


def test_average_of_best_epochs_and_last_epoch_are_exported(train, tmp_path: Path) -> None:
    from espnet_kd import load_model

    folder = tmp_path / "exp"
    assert train(folder, "--keep_nbest_models", 2).code == 0
    for file, exported in (("valid.loss.ave.pth", "student"), ("2epoch.pth", "student_last")):
        student = load_model(folder / exported).state_dict()
        weights = states(folder, file)
        assert all(
            torch.equal(tensor, weights[f"student.{name}"]) for name, tensor in student.items()
        )
    first, second = states(folder, "1epoch.pth"), states(folder, "2epoch.pth")
    average = states(folder, "valid.loss.ave.pth")
    name = "student.layers.0.feed_forward.output.weight"
    assert torch.allclose(average[name], (first[name] + second[name]) / 2)


def test_any_epoch_can_be_exported(distilled: Path, forked, tmp_path: Path) -> None:
    from espnet_kd import load_model
    from espnet_kd.bin.export import main

    target = tmp_path / "first"
    words = ["--exp", str(distilled), "--dst", str(target), "--epoch"]
    assert forked(lambda: main([*words, "1"])).code == 0
    weights = states(distilled, "1epoch.pth")
    exported = load_model(target).state_dict()
    assert all(torch.equal(tensor, weights[f"student.{name}"]) for name, tensor in exported.items())
    missing = forked(lambda: main([*words, "7"]))
    assert missing.code == 1
    assert "7epoch.pth: no such file" in missing.output
    assert "1epoch" in missing.output


def test_accumulation_halves_the_updates_and_the_schedule(train, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    outcome = train(folder, "--batch_size", 3, "--accum_grad", 2)  # 4 batches
    assert outcome.code == 0, outcome.output
    assert int(states(folder)["model"]["num_updates"]) == 4
    assert "2 updates per epoch (4 batches, accum_grad 2), 4 in all" in outcome.output
    assert states(folder)["schedulers"][0]["last_epoch"] == 4


def test_a_schedule_that_ends_before_the_run_is_told(train, tmp_path: Path) -> None:
    outcome = train(tmp_path / "exp", "--scheduler_conf", "total_steps=2")
    assert outcome.code == 0
    assert "WARNING: 3 updates per epoch (3 batches, accum_grad 1), 6 in all" in outcome.output
    assert "falls to 0 at update 2" in outcome.output


def test_mixed_precision_option_and_loader_processes(train, tmp_path: Path) -> None:
    """Without a GPU ESPnet's mixed precision switches itself off; the path is the same."""
    outcome = train(tmp_path / "exp", "--use_amp", "true", "--num_workers", 1, "--max_epoch", 1)
    assert outcome.code == 0, outcome.output


@pytest.mark.parametrize(
    ("objectives", "terms"),
    [
        ({"temporal_relation": {}}, ["layer_relation_loss", "intra_relation_loss"]),
        ({"temporal_relation": {"attention_weight": 1.0}}, ["attention_loss"]),
        ({"masked_prediction": {"num_classes": 5}}, ["accuracy", "masked_loss"]),
        (
            {"masking_distill": {}, "temporal_relation": {"weight": 0.5}},
            ["masking_distill_loss", "temporal_relation_loss", "hint_loss"],
        ),
    ],
    ids=["star", "star-attention", "prediction", "combined"],
)
def test_objectives(
    train, corpus: Path, tmp_path: Path, objectives: dict, terms: list[str]
) -> None:
    extra: list[object] = ["--kd_conf", {"objectives": objectives}, "--max_epoch", 3]
    if "masked_prediction" in objectives:
        extra += ["--teacher", "none"]
        for part in ("train", "valid"):
            path = f"{corpus / part / 'codes'},codes,text_int"
            extra += [f"--{part}_data_path_and_name_and_type", path]
    outcome = train(tmp_path / "exp", *extra)
    assert outcome.code == 0, outcome.output
    assert all(f"{term}=" in outcome.output for term in terms)
    found = losses(outcome.output)
    assert found[-1] < found[0]


def test_schedules_crops_and_random_hints_run(train, tmp_path: Path) -> None:
    conf = {
        "objectives": {"masking_distill": {"distil_random_layer": 0}},
        "mask_prob_schedule": [0.4, 0.8],
        "crop": {"max_seconds": 0.3},
        "update_teacher_mask": False,
    }
    folder = tmp_path / "exp"
    outcome = train(folder, "--kd_conf", conf)
    assert outcome.code == 0, outcome.output
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["unused_parameters"] is True  # the first head gets no gradient


def test_second_phase_starts_from_a_saved_student(train, distilled: Path, tmp_path: Path) -> None:
    """Same weights, other objective; the learning rate is 0 so that nothing moves."""
    folder = tmp_path / "exp"
    conf = {"objectives": {"temporal_relation": {}}}
    extra = ("--student", distilled / "student", "--student_conf", "dropout=0.0", "--max_epoch", 1)
    outcome = train(folder, *extra, "--kd_conf", conf, "--optim_conf", "lr=0.0")
    assert outcome.code == 0, outcome.output
    before, after = states(distilled, "valid.loss.ave.pth"), states(folder, "1epoch.pth")
    names = [name for name in before if name.startswith("student.")]
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_double_precision(train, tmp_path: Path) -> None:
    outcome = train(tmp_path / "exp", "--train_dtype", "float64", "--max_epoch", 1)
    assert outcome.code == 0, outcome.output


def test_statistics_stage_needs_no_teacher(train, tmp_path: Path) -> None:
    folder = tmp_path / "stats"
    outcome = train(folder, "--collect_stats", "true", "--teacher", "/nowhere")
    assert outcome.code == 0, outcome.output
    assert len((folder / "train" / "speech_shape").read_text().splitlines()) == 12


def test_two_processes_train_together(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """gloo, 2 ranks, one folder: rank 0 writes, both count the same updates."""
    port = 20000 + os.getpid() % 20000

    def rank(number: int) -> Callable[[], int]:
        def child() -> int:
            from espnet_kd.bin.ssl_distill_train import main

            os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # ESPnet would read its number as the rank
            os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
            words = ["--dist_world_size", "2", "--dist_rank", str(number), "--dist_backend", "gloo"]
            return main(command(tmp_path / "exp", *words, "--ngpu", 0))

        return child

    logs = [tmp_path / f"rank{number}.log" for number in range(2)]
    children = [start(rank(number), logs[number]) for number in range(2)]
    outcomes = [finish(pid, log) for pid, log in zip(children, logs, strict=True)]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[0].output + outcomes[1].output
    assert int(states(tmp_path / "exp")["model"]["num_updates"]) == 6
    assert len(losses(outcomes[0].output)) == 2
    assert (tmp_path / "exp" / "student" / "model.safetensors").exists()
