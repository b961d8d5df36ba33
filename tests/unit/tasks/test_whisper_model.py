"""The distillation model: losses, what runs and what is saved, teachers that do not fit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import LogitDistillLoss
from espnet_kd.tasks.guard import TrainingStoppedError
from espnet_kd.tasks.hooks import RunInfo
from espnet_kd.tasks.whisper_model import WhisperDistillModel
from espnet_kd.tasks.whisper_options import WhisperDistillConfig
from espnet_kd.tasks.whisper_teacher import WhisperTeacher, load_teacher
from espnet_kd.whisper import load_whisper, save_whisper
from espnet_kd.whisper.collate import collate_tokens
from espnet_kd.whisper.load import WhisperBundle
from espnet_kd.whisper.pair import run_pair
from tests.unit.tasks.whisper_corpus import make_label, tiny_student, tiny_teacher
from tests.unit.whisper.tiny import tiny_bundle


def teacher() -> WhisperTeacher:
    """A copy, for a model may give up its encoder."""
    bundle = tiny_teacher()
    copied = WhisperBundle(
        copy.deepcopy(bundle.model), bundle.tokenizer, bundle.feature_extractor, bundle.specials,
        bundle.name,
    )  # fmt: skip
    return WhisperTeacher(copied)


def model(
    student: WhisperBundle | None = None, *, with_teacher: bool = True, **conf: Any
) -> WhisperDistillModel:
    """A student with its teacher attached."""
    kd = WhisperDistillConfig.from_dict(conf)
    made = WhisperDistillModel(student or tiny_student(), kd, with_teacher=with_teacher)
    if with_teacher:
        made.attach_teacher(teacher())
    return made


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Two utterances, the second one with a prompt."""
    ids = tiny_teacher().specials
    first = make_label("a", "one two three", stamped=True).token_ids
    second = [ids.startofprev, 11, 12, *make_label("b", "four").token_ids]
    features = torch.randn(2, 80, 100, generator=torch.Generator().manual_seed(0))
    return {"input_features": features, **collate_tokens([first, second], ids)}


def gradients(made: WhisperDistillModel) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None}


# --- Losses
@pytest.mark.parametrize("freeze", [True, False])
def test_loss_is_that_of_whole_logits(batch: dict[str, Tensor], freeze: bool) -> None:
    made = model(freeze_encoder=freeze, kl_weight=0.7, temperature=3.0).train()
    assert made.loss.ce_weight == 0.8
    loss, stats, weight = made(**batch)
    ours, theirs = run_pair(
        made.student, tiny_teacher().model, batch["input_features"], batch["decoder_input_ids"]
    )
    expected = LogitDistillLoss(kl_weight=0.7, temperature=3.0)(
        ours.logits, batch["labels"], theirs.logits
    )
    for name in ("loss", "loss_ce", "loss_kl"):
        torch.testing.assert_close(stats[name].squeeze(), expected[name].detach())
    torch.testing.assert_close(loss.squeeze(), expected["loss"])
    assert int(weight) == int((batch["labels"] >= 0).sum())
    assert made.teacher.shares_encoder is freeze


def test_the_encoder_runs_once_if_shared(batch: dict[str, Tensor]) -> None:
    made = model(freeze_encoder=True).train()
    calls: list[int] = []
    made.student.model.encoder.register_forward_hook(lambda *_: calls.append(1))
    made(**batch)
    assert calls == [1]
    assert not hasattr(made.teacher.model.model, "encoder")
    apart = model(freeze_encoder=True, share_hidden_states=False).train()
    torch.testing.assert_close(apart(**batch)[0], made(**batch)[0], atol=1e-5, rtol=1e-5)
    assert hasattr(apart.teacher.model.model, "encoder")


def test_validation_has_temperature_1(batch: dict[str, Tensor]) -> None:
    made = model().eval()
    with torch.no_grad():
        _, stats, weight = made(**batch)
        ours, theirs = run_pair(
            made.student, tiny_teacher().model, batch["input_features"], batch["decoder_input_ids"]
        )
    expected = LogitDistillLoss().validation(ours.logits, batch["labels"], theirs.logits)
    torch.testing.assert_close(stats["loss_kl"].squeeze(), expected["loss_kl"])
    assert int(weight) == int((batch["labels"] >= 0).sum())


def test_without_a_teacher_it_is_fine_tuning(batch: dict[str, Tensor]) -> None:
    for made in (model(with_teacher=False), model(with_teacher=False, kl_weight=0.0)):
        _, stats, _ = made.train()(**batch)
        assert set(stats) == {"loss", "loss_ce"}
        assert float(stats["loss"]) == float(stats["loss_ce"])
    weighted = model(with_teacher=False, ce_weight=0.5)
    _, stats, _ = weighted.train()(**batch)
    assert float(stats["loss"]) == pytest.approx(0.5 * float(stats["loss_ce"]))


def test_hidden_states_of_decoder_and_encoder(batch: dict[str, Tensor]) -> None:
    _, separate, _ = model(mse_weight=1.0, share_hidden_states=False).train()(**batch)
    _, shared, _ = model(mse_weight=1.0, freeze_encoder=True).train()(**batch)
    assert float(shared["loss_mse"]) > 0
    # Equal encoders add nothing.
    assert float(separate["loss_mse"]) == pytest.approx(float(shared["loss_mse"]), rel=1e-4)
    shrunk = model(tiny_student(encoder_layers=1), mse_weight=2.0).train()
    _, stats, _ = shrunk(**batch)
    assert float(stats["loss_mse"]) > float(shared["loss_mse"])
    total = 0.8 * stats["loss_ce"] + stats["loss_kl"] + 2.0 * stats["loss_mse"]
    assert float(stats["loss"]) == pytest.approx(float(total), rel=1e-5)


def test_accumulated_batches_make_the_gradient_of_the_whole_one(batch: dict[str, Tensor]) -> None:
    whole = model().train()
    whole(**batch)[0].backward()
    split = model().train()
    split.accum_grad = 2
    rows = [({}, {k: v[i : i + 1] for k, v in batch.items()}) for i in range(2)]
    for _, part in split.training_batches(rows):
        (split(**part)[0] / 2).backward()
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradients(split)[name], gradient, atol=1e-5, rtol=1e-4)
    published = model(average_over="micro_batch").train()
    assert published.training_batches(rows) is rows
    assert int(published(**batch)[2]) == 1


def test_checkpointing_changes_no_gradient(batch: dict[str, Tensor]) -> None:
    plain, checkpointed = model(), model(gradient_checkpointing=True)
    for made in (plain, checkpointed):
        made.train()(**batch)[0].backward()
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(checkpointed)[name], gradient)


def test_bfloat16_autocast(batch: dict[str, Tensor]) -> None:
    exact = float(model(freeze_encoder=True).train()(**batch)[0])
    made = model(freeze_encoder=True).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, _ = made(**batch)
    loss.backward()
    assert made.teacher.model.dtype == torch.bfloat16
    assert float(loss) == pytest.approx(exact, rel=0.05)
    assert all(torch.isfinite(g).all() for g in gradients(made).values())


# --- What is trained and saved
def test_the_teacher_is_no_part_of_the_model(batch: dict[str, Tensor]) -> None:
    made = model(freeze_encoder=True).train()
    made(**batch)[0].backward()
    assert all(name.startswith("student.") or name == "num_updates" for name in made.state_dict())
    assert all(p.grad is None for p in made.teacher.model.parameters())
    assert not made.teacher.model.training
    encoder = made.student.model.encoder
    assert not encoder.training
    assert made.student.model.decoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert model().train().student.model.encoder.training


def test_layers_that_are_skipped_need_a_word_to_ddp() -> None:
    assert model(with_teacher=False).all_parameters_each_step
    student = tiny_student()
    student.model.config.encoder_layerdrop = 0.1
    assert not model(student, with_teacher=False).all_parameters_each_step
    assert model(student, with_teacher=False, freeze_encoder=True).all_parameters_each_step


def test_export_is_a_complete_folder(batch: dict[str, Tensor], tmp_path: Path) -> None:
    made = model(with_teacher=False)
    with torch.no_grad():
        made.student.model.decoder.layer_norm.bias.add_(1.0)
    made.export({**made.state_dict(), "other.x": torch.zeros(1)}, tmp_path / "student")
    again = load_whisper(tmp_path / "student")
    with torch.no_grad():
        inputs = batch["input_features"], batch["decoder_input_ids"]
        ours = made.student.eval()(inputs[0], decoder_input_ids=inputs[1]).logits
        theirs = again.model(inputs[0], decoder_input_ids=inputs[1]).logits
    assert torch.equal(ours, theirs)
    assert again.tokenizer.get_vocab() == made.bundle.tokenizer.get_vocab()
    assert again.model.generation_config.decoder_start_token_id == made.bundle.specials.start


def test_losses_that_are_not_finite_stop_the_run(batch: dict[str, Tensor]) -> None:
    made = model(max_bad_steps=2).train()
    batch["input_features"][0, 0, 0] = float("nan")
    for _ in range(2):
        made(**batch, utt_id=["bad", "good"])
    with pytest.raises(TrainingStoppedError, match="TEACHER's output is NaN or infinite for bad"):
        made(**batch, utt_id=["bad", "good"])


# --- Teachers
def test_a_shrunk_frozen_encoder_is_not_shared(batch: dict[str, Tensor]) -> None:
    made = model(tiny_student(encoder_layers=1), freeze_encoder=True).train()
    made(**batch)
    assert not made.teacher.shares_encoder
    with pytest.raises(ConfigError, match="share_hidden_states: the frozen encoder"):
        model(tiny_student(encoder_layers=1), freeze_encoder=True, share_hidden_states=True)


def test_an_encoder_that_changed_since_is_noticed(batch: dict[str, Tensor]) -> None:
    """A checkpoint of another run was loaded between the check and the first batch."""
    made = model(freeze_encoder=True).train()
    with torch.no_grad():
        made.student.model.encoder.layer_norm.bias.add_(1.0)
    with pytest.raises(KDError, match="belongs to another teacher"):
        made(**batch)


@pytest.mark.parametrize(
    ("student", "conf", "part"),
    [
        ({"multilingual": False, "max_source_positions": 50}, {}, "token by token"),
        ({"num_mel_bins": 128, "max_source_positions": 50}, {}, "128 mel bins"),
        ({"max_source_positions": 100}, {}, "the student sees 2 s at once"),
        ({"max_source_positions": 50, "max_target_positions": 64}, {}, "max_label_length is 64"),
        ({"max_source_positions": 50, "d_model": 16, "max_target_positions": 48},
         {"mse_weight": 1.0}, "the student is 16 wide"),
        ({"max_source_positions": 50, "decoder_layers": 4, "max_target_positions": 48},
         {"mse_weight": 1.0}, "4 decoder layers"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit(student: dict[str, Any], conf: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        model(tiny_bundle(**student), **conf)


def test_a_student_with_a_shorter_context(batch: dict[str, Tensor]) -> None:
    bundle = tiny_bundle(max_source_positions=100, max_target_positions=48, decoder_layers=1)
    long = WhisperTeacher(bundle)
    made = WhisperDistillModel(tiny_student(), WhisperDistillConfig(), with_teacher=True)
    made.attach_teacher(long)
    assert made.teacher.model.config.max_source_positions == 50
    assert torch.isfinite(made.train()(**batch)[0])


def test_start_of_a_run(tmp_path: Path) -> None:
    save_whisper(tiny_teacher(), tmp_path / "teacher")
    info = RunInfo(
        output_dir=tmp_path, seed=0, rank=0, max_epoch=1, accum_grad=4,
        teacher=str(tmp_path / "teacher"), teacher_conf={"dtype": "bfloat16"},
    )  # fmt: skip
    made = WhisperDistillModel(tiny_student(), WhisperDistillConfig(), with_teacher=True)
    made.start_run(info)
    assert made.accum_grad == 4
    assert made.teacher.model.dtype == torch.bfloat16
    labels_alone = WhisperDistillModel(
        tiny_student(), WhisperDistillConfig(kl_weight=0.0), with_teacher=True
    )
    labels_alone.start_run(info)
    assert labels_alone.teacher is None  # not even loaded
    with pytest.raises(ConfigError, match="unknown key dtyp"):
        load_teacher(str(tmp_path / "teacher"), {"dtyp": "x"})


def test_statistics_need_nothing(batch: dict[str, Tensor]) -> None:
    found = model(with_teacher=False).collect_feats(**batch)
    assert found["feats"].shape == (2, 100, 80)
    assert found["feats_lengths"].tolist() == [100, 100]
