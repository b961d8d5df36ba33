"""One batch through the model: the losses are the loss classes' own, nothing but the student is
kept."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import tiny_student, tiny_teacher

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import ConfigError, KDError
from espnet_kd.losses import MaskingDistillLoss
from espnet_kd.tasks.options import DistillConfig
from espnet_kd.tasks.ssl_model import SSLDistillModel
from espnet_kd.tasks.teacher import EncoderTeacher

NO_DROPOUT = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
}
STAR = {"objectives": {"temporal_relation": {}}}
CODES = {"objectives": {"masked_prediction": {"num_classes": 4}}}


def model(conf: dict, teacher: EncoderTeacher | None, **changes: object) -> SSLDistillModel:
    student = SpeechEncoder.from_config(tiny_student(**{**NO_DROPOUT, **changes}))
    built = SSLDistillModel(student, DistillConfig.from_dict(conf), seed=3)
    built.attach_teacher(teacher)
    return built


def batch(speech, *, codes: bool = False) -> dict:
    values = {"speech": speech[0], "speech_lengths": speech[1], "utt_id": ["a", "b", "c"]}
    if codes:
        lengths = (speech[1] - 400) // 320 + 1
        values |= {"codes": torch.randint(0, 4, (3, int(lengths.max()))), "codes_lengths": lengths}
    return values


@pytest.mark.parametrize("padded_frames", ["exclude", "count"])
def test_masking_distillation_step_by_step(teacher, speech, padded_frames: str) -> None:
    ours = model({"objectives": {"masking_distill": {"padded_frames": padded_frames}}}, teacher)
    again = copy.deepcopy(ours.masks)
    loss, stats, weight = ours(**batch(speech))
    with torch.no_grad():
        frames = teacher.encoder.embed(*speech)
        mask_BT = again.draw(frames.lengths_B, frames.x_BTD.shape[1])
        student = ours.student(*speech, mask_BT)
        expected = MaskingDistillLoss(padded_frames=padded_frames)(
            student.projections,
            teacher.encoder(*speech).layer_outputs,
            teacher.encoder(*speech, mask_BT).layer_outputs,
            mask_BT,
            padding_BT=student.padding_BT,
            hint_layers=[0, 1],
        )
    assert float(weight) == 3
    assert torch.allclose(loss, expected["loss"], rtol=1e-5)
    for name, term in expected.items():
        assert torch.allclose(stats[name], term, rtol=1e-4), name


@pytest.mark.parametrize("layer", [-1, 0])
def test_codebook_prediction_looks_at_the_layer_it_is_given(speech, layer: int) -> None:
    conf = {"num_codebooks": 2, "codebook_size": 4, "layer": layer}
    ours = model({"objectives": {"codebook_prediction": conf}}, None)
    values = batch(speech)
    lengths = (speech[1] - 400) // 320 + 1
    codes = torch.randint(0, 4, (3, int(lengths.max()), 2))
    for row, length in enumerate(lengths.tolist()):
        codes[row, length:] = -1
    loss, _stats, _ = ours(**values, codes=codes, codes_lengths=lengths)
    output = ours.student(*speech)
    x_BTD = output.layer_outputs[layer]
    head = ours.objectives["codebook_prediction"].loss
    logits = torch.einsum("btd,mkd->btmk", x_BTD, head.linear2b_weight) + head.linear2_bias
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 2), codes[:, : x_BTD.shape[1]].flatten(), ignore_index=-1
    )
    assert torch.allclose(loss, wanted, rtol=1e-5)
    assert ours.all_parameters_each_step == (layer == -1)
    with pytest.raises(KDError, match="codebook_prediction needs the data stream"):
        ours(**values)


def test_validation_masks_nothing(teacher, speech) -> None:
    ours = model({}, teacher).eval()
    with torch.no_grad():
        _, stats, _ = ours(**batch(speech))
        student, targets = ours.student(*speech), teacher.encoder(*speech).layer_outputs
    expected = MaskingDistillLoss().validation(
        student.projections, targets, padding_BT=student.padding_BT
    )
    assert set(stats) == {"loss", "hint_loss", "rec_loss"}
    assert torch.allclose(stats["loss"], expected["loss"], rtol=1e-5)


def test_prediction_is_validated_on_the_same_masks(speech) -> None:
    ours = model(CODES, None).eval()
    values = batch(speech, codes=True)
    found = []
    for _ in range(2):
        ours.start_validation()
        found.append(ours(**values)[1]["loss"])
    assert torch.equal(*found)
    assert "accuracy" in ours(**values)[1]


@pytest.mark.parametrize(
    ("conf", "changes"),
    [
        ({}, {}),
        (STAR, {}),
        (STAR, {"head_dim": 0, "hidden_states": "layers", "mask_embedding": False}),
        (CODES, {}),
        ({"objectives": {"masking_distill": {}, "temporal_relation": {}}}, {}),
        ({"freeze_student_mask": True}, {}),
    ],
    ids=["masking", "star", "star without heads", "codes", "both", "frozen mask"],
)
def test_every_trainable_parameter_gets_a_gradient(
    teacher, speech, conf: dict, changes: dict
) -> None:
    """Distributed training hangs or fails otherwise."""
    ours = model(conf, None if conf is CODES else teacher, **changes)
    loss, _, _ = ours(**batch(speech, codes=conf is CODES))
    loss.sum().backward()
    assert ours.all_parameters_each_step
    trainable = {name for name, p in ours.named_parameters() if p.requires_grad}
    assert trainable
    assert trainable == {name for name, p in ours.named_parameters() if p.grad is not None}


def test_fewer_hints_need_a_search_for_unused_parameters(teacher) -> None:
    ours = model({"objectives": {"masking_distill": {"distil_random_layer": 1}}}, teacher)
    assert not ours.all_parameters_each_step
    hints = set()
    for epoch in range(1, 9):
        ours.start_epoch(epoch)
        hints |= set(ours.objectives["masking_distill"].hint_layers)
    assert hints == {0, 1}


def test_teacher_is_no_part_of_the_model(teacher) -> None:
    ours = model({}, teacher)
    assert all(name.startswith("student.") for name, _ in ours.named_parameters())
    assert set(ours.state_dict()) == {"num_updates"} | {
        f"student.{name}" for name in ours.student.state_dict()
    }
    ours.train()
    assert not teacher.encoder.training


def test_updates_are_counted(teacher) -> None:
    ours = model({}, teacher)
    ours.updated()
    ours.updated()
    assert int(ours.num_updates) == 2
    assert ours.guard.forwards == 0


def test_teacher_takes_over_the_mask_embedding(speech) -> None:
    wide = {"embed_dim": 16, "conv_layers": [[8, 10, 5], *[[8, 3, 2]] * 4, *[[16, 2, 2]] * 2]}
    wide["layers"] = {"num_layers": 3, "num_heads": 2, "head_dim": 8, "ffn_dim": 16}
    teacher = EncoderTeacher("tiny", tiny_teacher())
    ours = model({"update_teacher_mask": True}, teacher, **wide)
    ours(**batch(speech))
    assert torch.equal(teacher.encoder.mask_embedding, ours.student.mask_embedding)


def test_all_misfits_at_once(teacher) -> None:
    with pytest.raises(ConfigError) as caught:
        model({"update_teacher_mask": True}, teacher, head_dim=5, mask_embedding=False)
    assert len(caught.value.problems) == 3


def test_missing_codes_are_explained(speech) -> None:
    with pytest.raises(KDError, match="data stream `codes`"):
        model(CODES, None)(**batch(speech))


def test_export_writes_the_student_of_an_epoch_file(teacher, tmp_path) -> None:
    ours, other = model({}, teacher), model({}, teacher)
    assert not torch.equal(ours.student.mask_embedding, other.student.mask_embedding)
    ours.export(other.state_dict(), tmp_path)
    written = SpeechEncoder.from_pretrained(tmp_path)
    assert torch.equal(written.mask_embedding, other.student.mask_embedding)
    with pytest.raises(KDError, match="mask_embedding"):
        ours.export({}, tmp_path)
