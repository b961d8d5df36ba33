"""Prediction of a teacher's codes: the loss of MVQ-KD (arXiv 2211.00508).

Every student frame predicts its codes of all codebooks by cross-entropy. In joint mode codebook m
also sees the true codes of the codebooks before it, as the published class does by default;
icefall's recipes and all later ones use the independent mode, one linear classifier per codebook.

Shapes: leading dimensions are free (..., ); P positions (frames) in all, V those with a code, C
width of the predictor, M codebooks, K their size, R = M K, H hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, shape_text
from espnet_kd.losses.joint_entropy import JointHead, hidden_vectors, joint_entropy_sum
from espnet_kd.losses.linear_entropy import linear_entropy_sum
from espnet_kd.losses.reduction import full_precision

IGNORE_INDEX = -100
"""Code of a position without a target."""
JOINT_ONLY = ("linear1.weight", "linear1.bias", "linear2_weight", "codebook_embedding.weight")
"""Parameters that the independent mode has no use for."""


class JointCodebookLoss(nn.Module):
    """Cross-entropy of the codes of all codebooks; ignored positions count for nothing.

    State dicts have the published names. The independent mode creates only what it uses (the
    published class keeps all, which breaks distributed training without checkpointing) and loads
    published weights of either mode.

    Args:
        predictor_channels: C, width of the student's frames.
        num_codebooks: M; twice the quantiser's where a student frame predicts two teacher frames.
        hidden_channels: H, of the joint mode.
        codebook_size: K.
        reduction: ``sum`` (published), ``mean`` over positions with a code, or ``none``: a flat
            vector of P M values, zero where ignored.
        ignore_index: code without a target, per position and codebook.
        is_joint: predict codes one after the other.
        checkpoint: in joint mode with ``none`` compute again in the backward pass instead of
            keeping everything (reduced losses do neither).
    """

    def __init__(
        self,
        predictor_channels: int,
        num_codebooks: int,
        hidden_channels: int = 512,
        codebook_size: int = 256,
        reduction: str = "sum",
        ignore_index: int = IGNORE_INDEX,
        is_joint: bool = True,
        checkpoint: bool = True,
    ) -> None:
        super().__init__()
        _check_options(predictor_channels, num_codebooks, hidden_channels, codebook_size, reduction)
        self.num_codebooks = num_codebooks
        self.codebook_size = codebook_size
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.is_joint = is_joint
        self.checkpoint = checkpoint
        shape = (num_codebooks, codebook_size)
        self.linear2b_weight = _normal(*shape, predictor_channels)
        self.linear2_bias = nn.Parameter(torch.zeros(shape))
        if is_joint:
            self.linear2_weight = _normal(*shape, hidden_channels)
            self.linear1 = nn.Linear(predictor_channels, hidden_channels)
            self.codebook_embedding = nn.Embedding(
                (num_codebooks - 1) * codebook_size,
                hidden_channels,
                _weight=_normal((num_codebooks - 1) * codebook_size, hidden_channels).data,
            )

    def forward(self, predictor: Tensor, codebook_indexes: Tensor) -> dict[str, Tensor]:
        """The loss.

        Args:
            predictor: student frames (..., C).
            codebook_indexes: integer codes (..., M), ``ignore_index`` where there is none.

        Returns:
            ``loss``, reduced (without any code: 0; published: NaN for ``mean``), and
            ``num_targets``, how many codes counted.

        Raises:
            LossInputError: shapes do not fit, or a code is neither in range nor the ignored one.
        """
        codes_PM = self._checked_codes(predictor, codebook_indexes)
        predictor_PC = predictor.reshape(-1, predictor.shape[-1])
        has_code_PM = codes_PM != self.ignore_index
        kept_P = has_code_PM.any(dim=1)
        all_kept = bool(kept_P.all())
        codes_VM = codes_PM if all_kept else codes_PM[kept_P]
        predictor_VC = predictor_PC if all_kept else predictor_PC[kept_P]
        if self.reduction != "none":
            loss_VM = self._entropy_sum(predictor_VC, codes_VM)
        elif self.is_joint and self.checkpoint and torch.is_grad_enabled():
            loss_VM = recompute(self._entropies, predictor_VC, codes_VM, use_reentrant=False)
        else:
            loss_VM = self._entropies(predictor_VC, codes_VM)
        count = has_code_PM.sum()
        return {"loss": self._reduced(loss_VM, kept_P, count), "num_targets": count.detach()}

    def logits(self, predictor: Tensor, codebook_indexes: Tensor) -> Tensor:
        """Scores (V, M, K) of frames (V, C) whose true codes are (V, M)."""
        weight_RC = self.linear2b_weight.flatten(0, 1)
        scores = F.linear(predictor, weight_RC, self.linear2_bias.flatten())
        scores_VMK = scores.view(-1, self.num_codebooks, self.codebook_size)
        if not self.is_joint:
            return scores_VMK
        hidden_MVH = hidden_vectors(predictor, self._head(), codebook_indexes)[0]
        joint_MVK = torch.bmm(hidden_MVH, self.linear2_weight.to(hidden_MVH.dtype).transpose(1, 2))
        return scores_VMK + joint_MVK.transpose(0, 1)

    def _head(self) -> JointHead:
        return JointHead(
            self.linear2b_weight.flatten(0, 1),
            self.linear2_bias.flatten(),
            self.linear1.weight,
            self.linear1.bias,
            self.codebook_embedding.weight,
            self.linear2_weight,
        )

    def _entropy_sum(self, predictor_VC: Tensor, codes_VM: Tensor) -> Tensor:
        """Sum of all cross-entropies."""
        if self.is_joint:
            return joint_entropy_sum(predictor_VC, self._head(), codes_VM, self.ignore_index)
        return linear_entropy_sum(
            predictor_VC,
            self.linear2b_weight.flatten(0, 1),
            self.linear2_bias.flatten(),
            codes_VM,
            self.ignore_index,
        )

    def _entropies(self, predictor_VC: Tensor, codes_VM: Tensor) -> Tensor:
        """Cross-entropies (V M,), zero where ignored."""
        logits_VMK = full_precision(self.logits(predictor_VC, codes_VM))
        return F.cross_entropy(
            logits_VMK.flatten(0, 1),
            codes_VM.flatten(),
            ignore_index=self.ignore_index,
            reduction="none",
        )

    def _reduced(self, loss: Tensor, kept_P: Tensor, count: Tensor) -> Tensor:
        if self.reduction == "sum":
            return loss.sum()
        if self.reduction == "mean":
            return loss.sum() / count.clamp(min=1)
        whole_PM = loss.new_zeros(len(kept_P), self.num_codebooks)
        return whole_PM.masked_scatter(kept_P.unsqueeze(1).expand_as(whole_PM), loss).flatten()

    def _checked_codes(self, predictor: Tensor, codes: Tensor) -> Tensor:
        """The codes as int64 (P, M), or raise."""
        wanted = (*predictor.shape[:-1], self.num_codebooks)
        width = self.linear2b_weight.shape[2]
        if predictor.shape[-1] != width or codes.shape != wanted:
            raise LossInputError(
                f"student frames {shape_text(predictor)} and codes {shape_text(codes)} do not fit "
                f"a loss for width {width} and {self.num_codebooks} codebooks; bring the codes to "
                "the student's frame rate first (espnet_kd.losses.match_frame_rate)"
            )
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise LossInputError(f"codes are {codes.dtype}; give integers")
        codes = codes.long().reshape(-1, self.num_codebooks)
        wrong = ((codes < 0) | (codes >= self.codebook_size)) & (codes != self.ignore_index)
        if bool(wrong.any()):
            raise LossInputError(
                f"code {int(codes[wrong][0])} is out of range: allowed are 0 to "
                f"{self.codebook_size - 1}, and {self.ignore_index} for none. The codes stem from "
                "another quantiser, or their file is damaged"
            )
        return codes

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Leave out what published weights hold for the other mode."""
        if not self.is_joint:
            state_dict = dict(_without(state_dict, prefix))
        load = super()._load_from_state_dict
        load(state_dict, prefix, *args, **kwargs)  # type: ignore[no-untyped-call]


def _without(state: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    dropped = {prefix + name for name in JOINT_ONLY}
    return ((name, tensor) for name, tensor in state.items() if name not in dropped)


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * shape[-1] ** -0.5)


def _check_options(channels: int, codebooks: int, hidden: int, size: int, reduction: str) -> None:
    problems = [
        f"{name} is {value}; it must be at least {least}"
        for name, value, least in (
            ("predictor_channels", channels, 1),
            ("num_codebooks", codebooks, 2),
            ("hidden_channels", hidden, 1),
            ("codebook_size", size, 2),
        )
        if value < least
    ]
    if reduction not in ("sum", "mean", "none"):
        problems.append(f"reduction is {reduction!r}; choose sum, mean or none")
    if problems:
        raise ConfigError("codebook loss", problems)
