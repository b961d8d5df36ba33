"""Masked prediction of cluster codes, as HuBERT is pre-trained (arXiv 2106.07447).

Every frame has one code per code stream (k-means clusters, or the codebooks of a quantiser); a head
classifies it from the encoder's output. Teacher-free training and codebook distillation both use
it.

Shapes: B batch, T frames, D width, N code streams, C classes, M selected (frame, stream) pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_kd.errors import ConfigError
from espnet_kd.losses.checks import LossInputError, check_frame_flags, shape_text
from espnet_kd.losses.reduction import full_precision

IGNORE_INDEX = -1
"""Code of a frame without a target."""


class MaskedPredictionLoss(nn.Module):
    """Cross-entropy of code predictions on masked and, optionally, unmasked frames.

    Args:
        input_dim: D, the encoder's width.
        num_classes: C, classes per code stream.
        num_codebooks: N, code streams; HuBERT has 1.
        head: ``linear`` (one affine map) or ``cosine`` (HuBERT: projection to ``final_dim``, cosine
            similarity to one embedding per class, divided by ``logit_temp``).
        final_dim: Width of the cosine head; HuBERT Base 256.
        logit_temp: Temperature of the cosine head; HuBERT 0.1.
        masked_weight: Weight of masked frames; HuBERT 1.0.
        unmasked_weight: Weight of unmasked frames; HuBERT 0.0.
    """

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        num_codebooks: int = 1,
        *,
        head: str = "linear",
        final_dim: int = 256,
        logit_temp: float = 0.1,
        masked_weight: float = 1.0,
        unmasked_weight: float = 0.0,
    ) -> None:
        super().__init__()
        problems = [
            f"{name} is {value}; it must be at least {least}"
            for name, value, least in (
                ("input_dim", input_dim, 1),
                ("num_classes", num_classes, 2),
                ("num_codebooks", num_codebooks, 1),
                ("final_dim", final_dim, 1),
            )
            if value < least
        ]
        if head not in ("linear", "cosine"):
            problems.append(f"head is {head!r}; choose linear or cosine")
        if logit_temp <= 0:
            problems.append(f"logit_temp is {logit_temp}; it must be positive")
        if min(masked_weight, unmasked_weight) < 0 or max(masked_weight, unmasked_weight) == 0:
            problems.append(
                f"masked_weight {masked_weight} and unmasked_weight {unmasked_weight}: neither may "
                "be negative and one must be positive"
            )
        if problems:
            raise ConfigError("masked prediction loss", problems)
        self.num_classes = num_classes
        self.num_codebooks = num_codebooks
        self.logit_temp = logit_temp
        self.masked_weight = masked_weight
        self.unmasked_weight = unmasked_weight
        self.width = num_classes if head == "linear" else final_dim
        self.proj = nn.Linear(input_dim, num_codebooks * self.width)
        self.class_embeddings: nn.Parameter | None = None
        if head == "cosine":
            self.class_embeddings = nn.Parameter(torch.rand(num_codebooks, num_classes, final_dim))

    def logits(self, x: Tensor) -> Tensor:
        """Return the class scores (..., N, C) of frames (..., D)."""
        y = full_precision(self.proj(x)).reshape(*x.shape[:-1], self.num_codebooks, self.width)
        if self.class_embeddings is None:
            return y
        classes_NCD = F.normalize(self.class_embeddings.to(y.dtype), dim=-1)
        y = F.normalize(y, dim=-1)
        cosine: Tensor = torch.einsum("...nd,ncd->...nc", y, classes_NCD)
        return cosine / self.logit_temp

    def forward(
        self,
        x_BTD: Tensor,
        codes_BTN: Tensor,
        mask_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, its parts and the accuracies, all scalars.

        Each part is the mean over its frames and code streams; parts whose weight is 0 are not
        computed.

        Args:
            x_BTD: The encoder's output.
            codes_BTN: int64 targets in 0..C-1, or -1 for no target; (B, T) is taken as one stream.
            mask_BT: True = masked frame; None = every frame counts as masked.
            padding_BT: True = padded frame; None = no padding.

        Returns:
            ``loss``; ``masked_loss`` and ``unmasked_loss`` (unweighted) as far as they have a
            weight; ``accuracy`` over the frames that take part and ``num_targets``, their number,
            detached.

        Raises:
            LossInputError: Shapes do not fit or a code is out of range.
        """
        codes_BTN = self._checked_codes(x_BTD, codes_BTN)
        check_frame_flags(mask_BT, x_BTD, "mask_BT")
        check_frame_flags(padding_BT, x_BTD, "padding_BT")
        masked_BT = (
            torch.ones_like(codes_BTN[..., 0], dtype=torch.bool) if mask_BT is None else mask_BT
        )
        valid_BT = torch.ones_like(masked_BT) if padding_BT is None else ~padding_BT
        loss = full_precision(x_BTD).new_zeros(())
        correct = torch.zeros((), device=x_BTD.device)
        counted = torch.zeros((), device=x_BTD.device)
        parts: dict[str, Tensor] = {}
        for name, weight, chosen_BT in (
            ("masked_loss", self.masked_weight, masked_BT & valid_BT),
            ("unmasked_loss", self.unmasked_weight, ~masked_BT & valid_BT),
        ):
            if weight == 0:
                continue
            entropy, hits, targets = self._part(x_BTD[chosen_BT], codes_BTN[chosen_BT])
            parts[name] = entropy
            loss = loss + weight * entropy
            correct, counted = correct + hits, counted + targets
        accuracy = correct / counted.clamp_min(1.0)
        return {"loss": loss, **parts, "accuracy": accuracy, "num_targets": counted}

    def _part(self, x_MD: Tensor, codes_MN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean cross-entropy (0 without targets), number of hits and number of targets."""
        logits_MNC = self.logits(x_MD)
        flat_MC, target_M = logits_MNC.flatten(0, 1), codes_MN.flatten()
        has_target_M = target_M != IGNORE_INDEX
        count = has_target_M.sum().to(flat_MC.dtype)
        # Sum and divide: the mean over no target at all would be NaN.
        entropy = F.cross_entropy(flat_MC, target_M, ignore_index=IGNORE_INDEX, reduction="sum")
        hits = (flat_MC.detach().argmax(dim=-1) == target_M) & has_target_M
        return entropy / count.clamp_min(1.0), hits.sum().float(), count.float()

    def _checked_codes(self, x_BTD: Tensor, codes: Tensor) -> Tensor:
        """Return the codes as int64 (B, T, N), or raise."""
        codes_BTN = codes.unsqueeze(-1) if codes.dim() == 2 else codes
        if codes_BTN.dim() != 3 or codes_BTN.shape != (*x_BTD.shape[:2], self.num_codebooks):
            raise LossInputError(
                f"codes {shape_text(codes)} do not fit the frames {shape_text(x_BTD)} with "
                f"{self.num_codebooks} code stream(s); extract the codes at the encoder's frame "
                "rate and cut or pad them (with -1) to its frames"
            )
        if codes_BTN.is_floating_point() or codes_BTN.dtype == torch.bool:
            raise LossInputError(f"codes are {codes_BTN.dtype}; give integers, -1 = no target")
        if codes_BTN.numel():
            low, high = (int(x) for x in torch.stack(torch.aminmax(codes_BTN)).tolist())
            if low < IGNORE_INDEX or high >= self.num_classes:
                raise LossInputError(
                    f"codes range from {low} to {high}; allowed are 0..{self.num_classes - 1} and "
                    "-1. The codes may stem from another quantiser: set num_classes to its "
                    "codebook size"
                )
        return codes_BTN.long()
