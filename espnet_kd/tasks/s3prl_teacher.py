"""Any S3PRL upstream as a teacher: its hidden states, without their first entry, are the layers.

Shapes: B batch, S samples, T frames, D width.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from espnet_kd.encoder import SpeechEncoder
from espnet_kd.errors import KDError
from espnet_kd.tasks.teacher import PROBES, EncoderTeacher, Observation, Teacher, View, Wish


class S3PRLTeacher(Teacher):
    """An upstream of S3PRL, seen from outside: it cannot mask its own frames."""

    can_mask = False

    def __init__(self, name: str, upstream: nn.Module) -> None:
        self.name = name
        self.upstream = upstream.eval().requires_grad_(False)
        noise_BS = torch.zeros(1, max(PROBES)).uniform_(-0.1, 0.1)
        self._counts = {}
        for samples in PROBES:
            states = self._states(noise_BS, [samples])
            self._counts[samples] = states[0].shape[1]
        if len(states) < 2:
            raise KDError(
                f"upstream {name} shows {len(states)} hidden state(s); a teacher needs the input "
                f"of its "
                "layers and at least one layer (a Transformer upstream, not a spectrogram)"
            )
        self.num_layers = len(states) - 1
        self.width = states[-1].shape[-1]
        self.layers = list(range(self.num_layers))

    def frame_counts(self) -> dict[int, int]:
        """Samples -> frames, found by trying."""
        return self._counts

    @torch.no_grad()
    def _states(self, speech_BS: Tensor, lengths: list[int]) -> list[Tensor]:
        waves = [row[:length] for row, length in zip(speech_BS, lengths, strict=True)]
        return list(self.upstream(waves)["hidden_states"])

    @torch.no_grad()
    def observe(self, speech_BS: Tensor, lengths_B: Tensor) -> Observation:
        """Run the whole upstream: its inside is out of reach."""
        parameter = next(self.upstream.parameters(), None)
        if parameter is not None and parameter.device != speech_BS.device:
            self.upstream.to(speech_BS.device)
        return _S3PRLObservation(self, self._states(speech_BS, [int(n) for n in lengths_B]))


class _S3PRLObservation(Observation):
    def __init__(self, teacher: S3PRLTeacher, states: list[Tensor]) -> None:
        self.teacher = teacher
        self.states = states
        size, self.num_frames = states[0].shape[:2]
        # Only masks are drawn by these lengths, and this teacher is never masked.
        self.lengths_B = torch.full((size,), self.num_frames, device=states[0].device)

    def views(self, wish: Wish, mask_BT: Tensor | None) -> tuple[View | None, View | None]:
        chosen = [self.states[1 + layer] for layer in self.teacher.layers]
        return View(layers=chosen, layer_input=self.states[0], attention_maps=None), None


def load_s3prl_teacher(entry: str, conf: Mapping[str, Any]) -> Teacher:
    """Load ``NAME`` or ``NAME:CHECKPOINT`` of S3PRL's hub; an upstream of ours is opened up.

    Raises:
        KDError: there is no such name, or the upstream cannot be built.
    """
    name, _, checkpoint = entry.partition(":")
    arguments = {**conf, **({"ckpt": checkpoint} if checkpoint else {})}
    from s3prl import hub

    factory = getattr(hub, name, None)
    if not callable(factory):
        known = [key for key in dir(hub) if not key.startswith("_")]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise KDError(f"S3PRL has no upstream {name!r}{hint}")
    try:
        upstream: nn.Module = factory(**arguments)
    except Exception as error:
        raise KDError(
            f"S3PRL could not build upstream {name} with {arguments or 'no arguments'}: {error}. "
            "Without a network give a local file: --teacher s3prl:NAME_local:FILE"
        ) from error
    inside = getattr(upstream, "model", None)
    if isinstance(inside, SpeechEncoder):
        return EncoderTeacher(f"s3prl:{entry}", inside)
    return S3PRLTeacher(f"s3prl:{entry}", upstream)
