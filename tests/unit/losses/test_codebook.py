"""The codebook prediction loss: values by hand, ignored positions, one set of weights, messages."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses import JointCodebookLoss, LossInputError

IGNORED = -100


def _module(**options) -> JointCodebookLoss:
    torch.manual_seed(0)
    return JointCodebookLoss(**{"predictor_channels": 5, "num_codebooks": 3, "hidden_channels": 4,
                                "codebook_size": 6, "is_joint": False} | options)  # fmt: skip


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(6, (2, 4, 3), generator=generator)
    codes[1, 3] = IGNORED
    codes[0, 2, 2] = IGNORED
    return torch.randn(2, 4, 5, generator=generator), codes


def test_independent_mode_is_one_linear_classifier_per_codebook():
    module, (x, codes) = _module(), _batch()
    wanted = sum(
        F.cross_entropy(
            (x @ module.linear2b_weight[m].T + module.linear2_bias[m]).flatten(0, 1),
            codes[..., m].flatten(), ignore_index=IGNORED, reduction="sum",
        )
        for m in range(3)
    )  # fmt: skip
    found = module(x, codes)
    torch.testing.assert_close(found["loss"], wanted)
    assert int(found["num_targets"]) == 20


@pytest.mark.parametrize("joint", [True, False])
def test_reductions_agree(joint):
    x, codes = _batch()
    total, mean, parts = (
        _module(reduction=r, is_joint=joint)(x, codes)["loss"] for r in ("sum", "mean", "none")
    )
    torch.testing.assert_close(parts.sum(), total)
    torch.testing.assert_close(mean, total / 20)
    assert parts.shape == (24,)
    assert torch.equal(parts == 0, codes.flatten() == IGNORED)


@pytest.mark.parametrize("joint", [True, False])
def test_padding_changes_nothing_and_gets_no_gradient(joint):
    module, (x, codes) = _module(is_joint=joint), _batch()
    longer = torch.cat([x, torch.full((2, 3, 5), 1e4)], 1).requires_grad_()
    padded = F.pad(codes, (0, 0, 0, 3), value=IGNORED)
    loss = module(longer, padded)["loss"]
    torch.testing.assert_close(loss, module(x, codes)["loss"])
    loss.backward()
    assert not longer.grad[:, 4:].any()
    assert not longer.grad[1, 3].any()
    assert longer.grad[0, 2].any(), "one of three codes is missing, the others count"


def test_a_joint_codebook_depends_on_earlier_codes_only():
    module, (x, codes) = _module(is_joint=True, reduction="none"), _batch()
    other = codes.clone()
    other[0, 0, 1] = (codes[0, 0, 1] + 1) % 6
    before, after = (module(x, c)["loss"].view(8, 3)[0] for c in (codes, other))
    assert before[0] == after[0]
    assert before[1] != after[1], "another target"
    assert before[2] != after[2], "another history"


@pytest.mark.parametrize("joint", [True, False])
def test_batch_without_any_code(joint):
    x = torch.randn(2, 4, 5, requires_grad=True)
    module = _module(is_joint=joint, reduction="mean")
    loss = module(x, torch.full((2, 4, 3), IGNORED))["loss"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert not x.grad.any()


def test_published_weights_of_either_mode_load():
    joint = _module(is_joint=True)
    independent = _module()
    independent.load_state_dict(joint.state_dict())
    assert set(independent.state_dict()) == {"linear2b_weight", "linear2_bias"}
    assert len(joint.state_dict()) == 6
    with pytest.raises(RuntimeError, match="stranger"):
        independent.load_state_dict({**joint.state_dict(), "stranger": torch.zeros(1)})


@pytest.mark.parametrize("joint", [True, False])
def test_half_precision_frames(joint):
    module, (x, codes) = _module(is_joint=joint), _batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(x.bfloat16(), codes)["loss"]
    loss.backward()
    assert module.linear2b_weight.grad.any()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, module(x, codes)["loss"], rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("x_shape", "codes", "message"),
    [
        ((2, 4, 5), torch.zeros(2, 4, 2, dtype=torch.long), "3 codebooks"),
        ((2, 5, 5), torch.zeros(2, 4, 3, dtype=torch.long), "frame rate"),
        ((2, 4, 6), torch.zeros(2, 4, 3, dtype=torch.long), "width 5"),
        ((2, 4, 5), torch.full((2, 4, 3), 6), "code 6 is out of range"),
        ((2, 4, 5), torch.full((2, 4, 3), -1), "code -1 is out of range"),
        ((2, 4, 5), torch.zeros(2, 4, 3), "integers"),
    ],
)
def test_bad_input(x_shape, codes, message):
    with pytest.raises(LossInputError, match=message):
        _module()(torch.zeros(x_shape), codes)


def test_all_wrong_options_at_once():
    with pytest.raises(ConfigError) as error:
        JointCodebookLoss(0, 1, 0, 1, reduction="median")
    assert len(error.value.problems) == 5
