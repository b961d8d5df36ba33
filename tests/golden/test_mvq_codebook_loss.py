"""The codebook prediction loss, its gradients and its pairing of frames against the published."""

from __future__ import annotations

import golden_mvq as golden
import pytest
import torch

from espnet_kd.losses import JointCodebookLoss, match_frame_rate

pytestmark = pytest.mark.golden
OPTIONS = (
    "predictor_channels", "num_codebooks", "hidden_channels", "codebook_size", "reduction",
    "ignore_index", "is_joint",
)  # fmt: skip


def _loss(case: golden.Case, checkpoint: bool) -> JointCodebookLoss:
    options = {name: case.settings[name] for name in OPTIONS}
    loss = JointCodebookLoss(**options, checkpoint=checkpoint)
    loss.load_state_dict(case.under("param."))
    return loss


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("case", golden.codebook_losses())
def test_loss_and_gradients(case: golden.Case, checkpoint: bool) -> None:
    module = _loss(case, checkpoint)
    x = case.tensors["x"].clone().requires_grad_()
    found = module(x, case.tensors["targets"])
    assert int(found["num_targets"]) == case.settings["n_valid"]
    torch.testing.assert_close(found["loss"], case.tensors["loss"], rtol=1e-5, atol=1e-5)
    weight = case.tensors.get("loss_weight", torch.ones(()))
    (found["loss"] * weight).sum().backward()
    torch.testing.assert_close(x.grad, case.tensors["grad.x"], rtol=1e-5, atol=2e-5)
    gradients = {name: p.grad for name, p in module.named_parameters()} | {"x": x.grad}
    for name, norm in case.settings["grad_norms"].items():
        if norm is None:
            assert name not in gradients, "an unused parameter"
        else:
            assert float(gradients[name].norm()) == pytest.approx(norm, rel=1e-5)
    for name in (n for n in case.tensors if n.endswith("_row0")):
        gradient = gradients[name.removeprefix("grad.").removesuffix("_row0")]
        torch.testing.assert_close(gradient[:, 0], case.tensors[name], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("row", golden.frame_counts())
def test_codes_of_a_single_utterance_are_never_missing(row: dict[str, int]) -> None:
    stored = min(row["kept_cap"], row["teacher_conv_frames"])
    codes_BTN = torch.arange(stored).view(1, -1, 1)
    paired = match_frame_rate(codes_BTN, row["student_frames"])
    assert torch.equal(paired.flatten(), torch.arange(2 * row["student_frames"]))


@pytest.mark.parametrize("case", golden.codebook_losses(paired=True))
def test_codes_of_a_teacher_that_is_twice_as_fast(case: golden.Case) -> None:
    paired = match_frame_rate(case.tensors["codes_50hz"], case.settings["T"])
    assert torch.equal(paired, case.tensors["targets"])
