"""Distillation losses: small modules, tensors in, ``{"loss": …, named parts}`` out."""

from __future__ import annotations

from espnet_kd.losses.checks import LossInputError, TeacherTargetError, check_finite_targets
from espnet_kd.losses.codebook import JointCodebookLoss
from espnet_kd.losses.frame_rate import match_frame_rate
from espnet_kd.losses.hidden_states import HiddenStateLoss
from espnet_kd.losses.layer_distill import LayerDistillLoss
from espnet_kd.losses.logits import LogitDistillLoss
from espnet_kd.losses.masked_prediction import MaskedPredictionLoss
from espnet_kd.losses.masking import MaskConfig, generate_mask
from espnet_kd.losses.masking_distill import MaskingDistillLoss
from espnet_kd.losses.schedule import HintLayerSchedule, MaskProbSchedule
from espnet_kd.losses.sparsity import SparsityLagrangian
from espnet_kd.losses.temporal_relation import TemporalRelationLoss
from espnet_kd.losses.transducer import PrunedTransducerLoss, TransducerLoss

__all__ = [
    "HiddenStateLoss",
    "HintLayerSchedule",
    "JointCodebookLoss",
    "LayerDistillLoss",
    "LogitDistillLoss",
    "LossInputError",
    "MaskConfig",
    "MaskProbSchedule",
    "MaskedPredictionLoss",
    "MaskingDistillLoss",
    "PrunedTransducerLoss",
    "SparsityLagrangian",
    "TeacherTargetError",
    "TemporalRelationLoss",
    "TransducerLoss",
    "check_finite_targets",
    "generate_mask",
    "match_frame_rate",
]
