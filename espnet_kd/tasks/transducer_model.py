"""ESPnet's transducer model with our losses: neither warp-transducer nor k2 is needed.

Weights, options and their names are ESPnet's, so stock ESPnet decodes what was trained here.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, D width, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from espnet2.asr_transducer.espnet_transducer_model import ESPnetASRTransducerModel
from torch import Tensor

from espnet_kd.errors import ConfigError
from espnet_kd.losses import PrunedTransducerLoss, TransducerLoss
from espnet_kd.utils.options import unknown_key

PRUNED_DEFAULTS: dict[str, Any] = {
    "prune_range": 5,
    "simple_loss_scaling": 0.5,
    "lm_scale": 0.0,
    "am_scale": 0.0,
    "loss_type": "regular",
    "reduction": "mean",
    "padding_idx": 0,
}
"""ESPnet's defaults of ``k2_pruned_loss_args``."""


class KDTransducerModel(ESPnetASRTransducerModel):
    """A stock model whose two losses are replaced; made by :meth:`adopt`."""

    full_loss: TransducerLoss
    pruned_loss: PrunedTransducerLoss

    @classmethod
    def adopt(cls, model: ESPnetASRTransducerModel, backend: str) -> KDTransducerModel:
        """Give a stock model our losses; it is changed in place, its weights stay.

        Args:
            model: built by ESPnet, which leaves no choice of a class.
            backend: ``torch``, ``k2`` or ``torchaudio`` (full lattice only).

        Raises:
            ConfigError: options that our losses lack; all at once.
            MissingDependencyError: the backend is not installed.
        """
        problems = []
        if model.fastemit_lambda:
            problems.append(
                f"fastemit_lambda is {model.fastemit_lambda}; FastEmit is not available here, "
                "remove it"
            )
        pruned = dict(model.k2_pruned_loss_args) if model.use_k2_pruned_loss else {}
        problems += [
            unknown_key(f"k2_pruned_loss_args.{name}", PRUNED_DEFAULTS)
            for name in pruned
            if name not in PRUNED_DEFAULTS
        ]
        if problems:
            raise ConfigError("model_conf", problems)
        model.__class__ = cls
        adopted: KDTransducerModel = model
        if model.use_k2_pruned_loss:
            adopted.pruned_loss = _pruned_loss({**PRUNED_DEFAULTS, **pruned}, backend)
        else:
            adopted.full_loss = TransducerLoss(backend=backend, reduction="mean")
        return adopted

    def _calc_transducer_loss(
        self,
        encoder_out: Tensor,
        joint_out: Tensor,
        target: Tensor,
        t_len: Tensor,
        u_len: Tensor,
    ) -> Tensor:
        """Loss of the full lattice; ``joint_out`` is (B, T, U, V), ``target`` (B, S)."""
        loss: Tensor = self.full_loss(joint_out, target, t_len, u_len)["loss"]
        return loss

    def _calc_k2_transducer_pruned_loss(
        self,
        encoder_out: Tensor,
        decoder_out: Tensor,
        labels: Tensor,
        encoder_out_len: Tensor,
        decoder_out_len: Tensor,
        **_options: Any,
    ) -> Tensor:
        """Simple and pruned loss with ESPnet's warm-up; (B, T, D), (B, U, D) and (B, S)."""
        terms = self.pruned_loss(
            self.am_proj(encoder_out),
            self.lm_proj(decoder_out),
            self.joint_network.lin_enc(encoder_out),
            self.joint_network.lin_dec(decoder_out),
            partial(self.joint_network, no_projection=True),
            labels,
            encoder_out_len,
            decoder_out_len,
        )
        simple_scale, pruned_scale = self._scales()
        loss: Tensor = simple_scale * terms["loss_simple"] + pruned_scale * terms["loss_pruned"]
        return loss

    def _scales(self) -> tuple[float, float]:
        """Both losses' weights: linear from (1, 0.1) to (simple_loss_scaling, 1), as in ESPnet."""
        self.steps_num += 1
        done = min(1.0, self.steps_num / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        return 1.0 - done * (1.0 - self.pruned_loss.simple_loss_scale), 0.1 + 0.9 * done


def _pruned_loss(options: dict[str, Any], backend: str) -> PrunedTransducerLoss:
    return PrunedTransducerLoss(
        blank=options["padding_idx"],
        prune_range=options["prune_range"],
        lm_scale=options["lm_scale"],
        am_scale=options["am_scale"],
        simple_loss_scale=options["simple_loss_scaling"],
        rnnt_type=options["loss_type"],
        reduction=options["reduction"],
        backend=backend,
    )
