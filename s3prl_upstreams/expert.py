"""One S3PRL upstream for every encoder of ours.

Shape suffixes: B batch, S samples, T frames, D width.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from espnet_kd.errors import ConfigError
from s3prl_upstreams.waves import pad_waves

DTYPES = ("float32", "bfloat16")


class UpstreamExpert(nn.Module):
    """An encoder behind S3PRL's upstream contract (a list of waves in, hidden states out).

    Waves are padded with zeros and not normalised, as in the published upstreams; a model that was
    trained on normalised waves does it itself (``normalize_waveform`` of its configuration).
    A wave shorter than one frame (400 samples) is padded to one frame; the published upstreams
    crash there, S3PRL's own contract tests go lower than their frame of 25 ms.

    Args:
        ckpt: path of anything that ``espnet_kd.load_model`` reads.
        model_config: yaml of a published ``.ckpt``; without it the configuration inside is taken.
        eval_when_frozen: stay in eval mode (no dropout) while no parameter wants a gradient, even
            when a surrounding model is put into train mode. S3PRLUpstream and ESPnet do that;
            ``freeze_param`` alone leaves dropout on. Default off, as with other upstreams.
        dtype: ``bfloat16`` computes in half precision; features come back in float32 all the same
            and differ by 1 to 2 % (relative length of the difference). Faster on GPUs, and on CPUs
            with AMX or AVX512-BF16; slower on others. Not for fine-tuning.
        **overrides: fields of the encoder's configuration, such as ``reuse_mode="ref"``:
            the published batches, where reused attention maps belong to other utterances, so that
            features depend on who shares the batch. Default ``fixed``: they do not.
    """

    def __init__(
        self,
        ckpt: str,
        model_config: str | None = None,
        *,
        eval_when_frozen: bool = False,
        dtype: str = "float32",
        **overrides: Any,
    ) -> None:
        super().__init__()
        from espnet_kd import load_model

        if dtype not in DTYPES:
            raise ConfigError("upstream", [f"dtype is {dtype!r}; choose {' or '.join(DTYPES)}"])
        settings = {"layerdrop": 0.0, **_known_overrides(overrides)}
        if model_config is not None:
            settings["config"] = model_config
        self.model = load_model(ckpt, **settings).to(getattr(torch, dtype))
        self.eval_when_frozen = eval_when_frozen

    def get_downsample_rates(self, key: str) -> int:
        """Return the samples per frame, 320 (20 ms), for any kind of feature."""
        return int(self.model.hop)

    def forward(self, wavs: Sequence[Tensor], *, pad_to: int = 0) -> dict[str, Any]:
        """Encode a batch.

        Args:
            wavs: B waves, each 1-D, 16 kHz, floating, of any length, on one device.
            pad_to: pad the batch to so many samples, as a longer wave in it would.

        Returns:
            ``hidden_states``: list of float32 (B, T, D), the published convention of the system;
            ``last_hidden_state``: its last element. Frames beyond a wave's end hold no meaning.

        Raises:
            AudioError: names the first wave that is empty, not 1-D, or not finite.
        """
        x_BS, lengths_B = pad_waves(wavs, self.model.min_samples, pad_to)
        states = [state.float() for state in self.model(x_BS, lengths_B).hidden_states]
        return {"hidden_states": states, "last_hidden_state": states[-1]}

    def train(self, mode: bool = True) -> UpstreamExpert:
        """Switch dropout on or off; see ``eval_when_frozen``."""
        frozen = not any(parameter.requires_grad for parameter in self.parameters())
        super().train(mode and not (self.eval_when_frozen and frozen))
        return self


def _known_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Keep fields of the encoder's configuration; S3PRL demands that the rest be tolerated."""
    from espnet_kd.encoder import SpeechEncoderConfig

    known = {field.name for field in fields(SpeechEncoderConfig)}
    unknown = sorted(set(options) - known)
    if unknown:
        _say(f"options unknown to our upstreams are ignored: {', '.join(unknown)}")
    return {name: value for name, value in options.items() if name in known}


def _say(line: str) -> None:
    print(f"[espnet_kd] {line}", file=sys.stderr)
