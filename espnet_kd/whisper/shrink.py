"""A smaller Whisper made of whole layers of a teacher: the student before distillation.

Source: Distil-Whisper (arXiv 2311.00430); spec whisper.md 1. Outside of the layer stacks all
weights are the teacher's, and every kept weight is equal to it bit by bit.

Shapes: B batch, M mel bins, F feature frames, T tokens.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import CheckpointError, ConfigError
from espnet_kd.whisper.config import POSITIONS_PER_SECOND, arguments_of, forget_forced_tokens
from espnet_kd.whisper.generation_config import upper_half_heads
from espnet_kd.whisper.layers import select_layers
from espnet_kd.whisper.load import WhisperBundle, load_whisper, save_whisper
from espnet_kd.whisper.report import ShrinkReport, count_parameters

DECODER_LAYERS = 2
"""Decoder layers of the published students, unless told otherwise."""

_LAYER = re.compile(r"(model\.(encoder|decoder)\.layers\.)(\d+)(\..+)")
_ENCODER_POSITIONS = "model.encoder.embed_positions.weight"


def shrink_whisper(
    teacher: WhisperBundle,
    *,
    encoder_layers: int | None = None,
    decoder_layers: int | None = None,
    encoder_layers_numbers: Sequence[int] | None = None,
    decoder_layers_numbers: Sequence[int] | None = None,
    max_source_positions: int | None = None,
    compat: bool = False,
) -> tuple[WhisperBundle, ShrinkReport]:
    """Make a student of some of the teacher's layers.

    Args:
        teacher: stays as it is; the student shares no weights with it.
        encoder_layers: layers to keep, evenly spaced; None keeps all.
        decoder_layers: the same of the decoder; None keeps 2, or those listed.
        encoder_layers_numbers: explicit teacher layers; negative ones count from the end.
        decoder_layers_numbers: the same of the decoder.
        max_source_positions: shorter context in encoder positions, 50 per second, whole seconds;
            the first rows of the position table are kept. None keeps the teacher's 30 s.
        compat: read lists of layers as the original does (see ``select_layers``).

    Returns:
        The student in eval mode, and what was kept.

    Raises:
        ConfigError: layers or positions that the teacher does not have; all problems at once.
    """
    config = teacher.model.config
    if decoder_layers is None and decoder_layers_numbers is None:
        decoder_layers = DECODER_LAYERS
    encoder, problems = _select(
        "encoder", config.encoder_layers, encoder_layers, encoder_layers_numbers, compat
    )
    decoder, more = _select(
        "decoder", config.decoder_layers, decoder_layers, decoder_layers_numbers, compat
    )
    problems += more
    positions = config.max_source_positions
    if max_source_positions is not None:
        problems += _position_problems(max_source_positions, positions)
        positions = max_source_positions
    if problems:
        raise ConfigError(f"student of {teacher.name}", problems)
    kept = {"encoder": encoder, "decoder": decoder}
    student = _student(teacher, kept, positions)
    report = ShrinkReport(
        teacher=teacher.name,
        encoder=encoder,
        decoder=decoder,
        max_source_positions=positions,
        before=count_parameters(teacher.model),
        after=count_parameters(student.model),
    )
    return student, report


def save_student(student: WhisperBundle, folder: str | os.PathLike[str]) -> None:
    """Save a student, load it again and try it, as the original does.

    Raises:
        KDError: it cannot be written.
        CheckpointError: what was read back is not what was written, or does not run.
    """
    save_whisper(student, folder)
    again = load_whisper(folder, dtype=student.model.dtype)
    written = student.model.state_dict()
    changed = [
        name for name, tensor in again.model.state_dict().items()
        if not torch.equal(tensor, written[name].cpu())
    ]  # fmt: skip
    if changed:
        raise CheckpointError(
            f"{folder}: {len(changed)} weights differ from those written (first {changed[0]}); the "
            "disk is damaged or the folder was changed meanwhile: save it again elsewhere"
        )
    try_out(again)


@torch.no_grad()
def try_out(bundle: WhisperBundle) -> Tensor:
    """One forward pass of 1 s of ones and the start token.

    Returns:
        Logits (1, 1, vocabulary).

    Raises:
        CheckpointError: they are not finite.
    """
    rate = bundle.feature_extractor.sampling_rate
    wave_S = torch.ones(rate).numpy()
    features_BMF = bundle.feature_extractor(
        wave_S, sampling_rate=rate, return_tensors="pt"
    ).input_features
    model = bundle.model
    logits: Tensor = model(
        features_BMF.to(model.device, model.dtype),
        decoder_input_ids=torch.tensor([[bundle.specials.start]], device=model.device),
        use_cache=False,
    ).logits
    if not torch.isfinite(logits).all():
        raise CheckpointError(
            f"{bundle.name} gives NaN or infinity on its first token; check the teacher's weights, "
            "and load them in float32 if they are float16"
        )
    return logits


def _select(
    stack: str,
    teacher_layers: int,
    number: int | None,
    numbers: Sequence[int] | None,
    compat: bool,
) -> tuple[list[int], list[str]]:
    """Layers kept of one stack, and what is wrong with the request."""
    try:
        return select_layers(teacher_layers, number, numbers, compat=compat), []
    except ConfigError as error:
        return [], [f"{stack}: {problem}" for problem in error.problems]


def _position_problems(wanted: int, available: int) -> list[str]:
    if POSITIONS_PER_SECOND <= wanted <= available and wanted % POSITIONS_PER_SECOND == 0:
        return []
    return [
        f"max_source_positions is {wanted}; it must be a multiple of {POSITIONS_PER_SECOND} (one "
        f"second) up to the teacher's {available}"
    ]


def _student(
    teacher: WhisperBundle, kept: Mapping[str, list[int]], positions: int
) -> WhisperBundle:
    source = teacher.model
    config = copy.deepcopy(source.config)
    config.encoder_layers = config.num_hidden_layers = len(kept["encoder"])
    config.decoder_layers = len(kept["decoder"])
    config.max_source_positions = positions
    forget_forced_tokens(config)
    with torch.device("meta"):
        model = type(source)._from_config(
            config, attn_implementation=source.config._attn_implementation
        )
    state = _kept_weights(source.state_dict(), model.state_dict(), kept)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = _generation_config(source, kept, positions)
    return WhisperBundle(
        model.eval(),
        copy.deepcopy(teacher.tokenizer),
        _extractor(teacher.feature_extractor, positions),
        teacher.specials,
        f"{teacher.name}-{config.encoder_layers}-{config.decoder_layers}",
    )


def _kept_weights(
    teacher: Mapping[str, Tensor], student: Mapping[str, Tensor], kept: Mapping[str, list[int]]
) -> dict[str, Tensor]:
    """Copies of the teacher's tensors under the student's names."""
    state: dict[str, Tensor] = {}
    for name, empty in student.items():
        match = _LAYER.fullmatch(name)
        origin = name
        if match is not None:
            before, stack, number, rest = match.groups()
            origin = f"{before}{kept[stack][int(number)]}{rest}"
        tensor = teacher[origin]
        if name == _ENCODER_POSITIONS:
            tensor = tensor[: empty.shape[0]]
        state[name] = tensor.detach().clone()
    return state


def _generation_config(source: Any, kept: Mapping[str, list[int]], positions: int) -> Any:
    """The teacher's, without forced tokens and with the attention heads that are still there."""
    config = copy.deepcopy(source.generation_config)
    forget_forced_tokens(config)
    heads = getattr(config, "alignment_heads", None)
    if heads:
        config.alignment_heads = remap_heads(
            heads, kept["decoder"], source.config.decoder_attention_heads
        )
    initial = getattr(config, "max_initial_timestamp_index", None)
    if initial is not None:
        config.max_initial_timestamp_index = min(initial, positions)
    return config


def remap_heads(
    heads: Sequence[Sequence[int]], kept: Sequence[int], number_of_heads: int
) -> list[list[int]]:
    """``alignment_heads`` of the student, in its own numbers.

    Args:
        heads: [teacher layer, head] pairs, used for word timestamps.
        kept: teacher layer of each student layer.
        number_of_heads: heads per decoder layer.

    Returns:
        [student layer, head] pairs; where no layer with such a head is kept, all heads of the upper
        half of the layers.
    """
    mapped = [
        [layer, int(head)]
        for layer, origin in enumerate(kept)
        for old, head in heads
        if old == origin
    ]
    return mapped or upper_half_heads(len(kept), number_of_heads)


def _extractor(extractor: Any, positions: int) -> Any:
    """The teacher's feature extractor for another number of positions."""
    options = {name: getattr(extractor, name) for name in arguments_of(type(extractor))}
    options["chunk_length"] = positions // POSITIONS_PER_SECOND
    return type(extractor)(**options)
