"""The frozen Whisper teacher: a plain object beside the student, never a part of it.

Where its encoder equals the student's frozen one it is given up, and the student's states serve
both decoders.

Shapes: B batch, M mel bins, F feature frames, E encoder positions, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import ConfigError, KDError
from espnet_kd.utils.options import from_mapping
from espnet_kd.whisper.load import WhisperBundle, load_whisper
from espnet_kd.whisper.pair import same_encoder
from espnet_kd.whisper.step import Pass, look

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("sdpa", "eager", "flash_attention_2")


@dataclass(kw_only=True)
class TeacherOptions:
    """All of ``--teacher_conf``."""

    dtype: str | None = None
    """float32, bfloat16 or float16; null = that of mixed precision, else the student's."""

    attn_implementation: str = "sdpa"
    """sdpa, eager or flash_attention_2."""

    subfolder: str = ""
    """Folder inside the checkpoint."""

    revision: str | None = None
    """Commit or tag of a hub repository."""

    cache_dir: str | None = None
    """Where downloads are kept."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TeacherOptions:
        """Build from YAML values.

        Raises:
            ConfigError: all problems.
        """
        options = from_mapping(cls, values, subject="teacher_conf")
        choices = {"dtype": (*DTYPES, None), "attn_implementation": ATTENTION}
        problems = [
            f"{name} is {getattr(options, name)!r}; choose {', '.join(map(str, allowed))}"
            for name, allowed in choices.items()
            if getattr(options, name) not in allowed
        ]
        if problems:
            raise ConfigError("teacher_conf", problems)
        return options


class WhisperTeacher:
    """A frozen model that shows its logits.

    Args:
        bundle: the model; it is moved to where the student's batches are.
        dtype: of its weights; None follows the student and mixed precision.
    """

    def __init__(self, bundle: WhisperBundle, dtype: torch.dtype | None = None) -> None:
        self.bundle = bundle
        self.model = bundle.model.eval().requires_grad_(False)
        self.dtype = dtype
        self.shares_encoder = False

    @property
    def name(self) -> str:
        """For messages."""
        return self.bundle.name

    def give_up_encoder(self, student: Any) -> None:
        """From now on look at the student's encoder states.

        Raises:
            KDError: the student's encoder is not this teacher's (a checkpoint of another run).
        """
        if not same_encoder(student, self.model):
            raise KDError(
                f"the student's frozen encoder differs from that of teacher {self.name} although "
                "both were equal at the start: the checkpoint belongs to another teacher. Use the "
                "teacher it was trained with, another --output_dir, or share_hidden_states: false"
            )
        del self.model.model.encoder
        self.shares_encoder = True

    @torch.no_grad()
    def look(
        self,
        tokens_BT: Tensor,
        labelled_BT: Tensor,
        *,
        features_BMF: Tensor | None,
        encoder_BED: Tensor | None,
        hidden_states: bool = False,
    ) -> Pass:
        """See :func:`espnet_kd.whisper.step.look`; features or, where it shares, states."""
        seen = encoder_BED if self.shares_encoder else features_BMF
        assert seen is not None
        self._follow(seen)
        seen = seen.detach().to(self.model.dtype)
        return look(
            self.model,
            tokens_BT,
            labelled_BT,
            features_BMF=None if self.shares_encoder else seen,
            encoder_BED=seen if self.shares_encoder else None,
            hidden_states=hidden_states,
        )

    def _follow(self, seen: Tensor) -> None:
        """Move to the device of the batch, into the type of its computation."""
        dtype = self.dtype
        if dtype is None and torch.is_autocast_enabled(seen.device.type):
            dtype = torch.get_autocast_dtype(seen.device.type)
        dtype = dtype or seen.dtype
        if self.model.device != seen.device or self.model.dtype != dtype:
            self.model.to(device=seen.device, dtype=dtype)


def load_teacher(name: str, conf: Mapping[str, Any]) -> WhisperTeacher:
    """Load the model of ``--teacher`` with ``--teacher_conf``.

    Raises:
        ConfigError: unknown options.
        CheckpointError: no such model, or a damaged one.
    """
    options = TeacherOptions.from_dict(conf)
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    bundle = load_whisper(
        name,
        dtype=dtype or torch.float32,
        attn_implementation=options.attn_implementation,
        subfolder=options.subfolder,
        revision=options.revision,
        cache_dir=options.cache_dir,
    )
    return WhisperTeacher(bundle, dtype)
