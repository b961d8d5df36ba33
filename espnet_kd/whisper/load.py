"""A Whisper model with all that belongs to it, from and to a plain Hugging Face directory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espnet_kd.errors import CheckpointError
from espnet_kd.utils.files import atomic_folder
from espnet_kd.utils.model_directory import read_json, read_safetensors, refuse_foreign_model
from espnet_kd.utils.options import problems_of, short
from espnet_kd.utils.weights import check_fit
from espnet_kd.whisper.checkpoint_names import by_step, worst_first
from espnet_kd.whisper.config import (
    CONFIG_FILE,
    check_tokenizer_config,
    read_config,
    read_feature_extractor,
    read_generation_config,
)
from espnet_kd.whisper.generation_config import generation_config
from espnet_kd.whisper.specials import SpecialIds

MODEL_TYPE = "whisper"
WEIGHTS_FILE = "model.safetensors"
FILES = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "normalizer.json", "model*.safetensors",
    "model.safetensors.index.json",
)  # fmt: skip
"""What a model directory consists of, as patterns; nothing else is downloaded or replaced."""

_OUTPUT, _EMBEDDING = "proj_out.weight", "model.decoder.embed_tokens.weight"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass
class WhisperBundle:
    """A model and what turns audio and text into its inputs."""

    model: Any
    """``WhisperForConditionalGeneration`` in eval mode."""

    tokenizer: Any
    """``WhisperTokenizerFast``."""

    feature_extractor: Any
    """``WhisperFeatureExtractor``: 16 kHz audio to log-mel features (mel bins, frames)."""

    specials: SpecialIds
    """Ids of the special tokens."""

    name: str
    """Name of the directory or of the hub repository, for messages and reports."""


def load_whisper(
    folder: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    attn_implementation: str = "sdpa",
    subfolder: str = "",
    revision: str | None = None,
    cache_dir: str | Path | None = None,
) -> WhisperBundle:
    """Load a model from safetensors, without running any code that comes with it.

    Args:
        folder: a Hugging Face directory, or the name of a hub repository (``owner/name``), which
            is downloaded.
        dtype: of the weights.
        device: where the model shall be.
        attn_implementation: ``sdpa``, or ``eager`` where attention maps are needed.
        subfolder: folder inside the directory or repository that holds the files.
        revision: commit or tag of a hub repository.
        cache_dir: where downloads are kept, instead of transformers' usual place.

    Raises:
        CheckpointError: files missing or damaged, weights that do not fit, a tokenizer or feature
            extractor of another model.
        ConfigError: a configuration that makes no sense.
    """
    place = _local_folder(folder, subfolder, revision, cache_dir)
    config = read_config(place)
    generation = read_generation_config(place)
    extractor = read_feature_extractor(place)
    tokenizer = read_tokenizer(place)
    specials = SpecialIds.of(
        tokenizer, is_multilingual=getattr(generation, "is_multilingual", None)
    )
    _check_together(config, tokenizer, extractor, specials, place)
    weights = _read_weights(place)
    model = build_model(config, weights, str(place), attn_implementation=attn_implementation)
    model.generation_config = generation or generation_config(tokenizer, specials, config)
    model.to(device=device, dtype=dtype)
    return WhisperBundle(model, tokenizer, extractor, specials, Path(folder).name)


def save_whisper(bundle: WhisperBundle, folder: str | os.PathLike[str]) -> None:
    """Write model, generation configuration, tokenizer and feature extractor together.

    The files are complete in a folder beside ``folder`` before they take its place; an earlier
    model there is replaced.

    Raises:
        CheckpointError: ``folder`` holds a model of another kind.
        KDError: it holds something else than a model, the disk is full, or it cannot be written.
    """
    from safetensors import SafetensorError

    refuse_foreign_model(Path(folder), MODEL_TYPE)
    with atomic_folder(folder, replaces=FILES) as new:
        try:
            bundle.model.save_pretrained(new, safe_serialization=True)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(errno.EIO, str(error)) from error
        bundle.tokenizer.save_pretrained(new)
        bundle.feature_extractor.save_pretrained(new)


def _local_folder(
    folder: str | os.PathLike[str],
    subfolder: str,
    revision: str | None,
    cache_dir: str | Path | None,
) -> Path:
    """The directory itself, or where the hub repository was downloaded to."""
    place = Path(folder)
    if not place.is_dir():
        if place.exists() or not _HUB_NAME.fullmatch(str(folder)):
            raise CheckpointError(
                f"{folder} is not a directory; give a Whisper directory (with config.json, "
                "model.safetensors and tokenizer files) or the name of a hub repository"
            )
        place = _download(str(folder), subfolder, revision, cache_dir)
    _refuse_folder_of_checkpoints(place / subfolder)
    return place / subfolder


def _refuse_folder_of_checkpoints(place: Path) -> None:
    """A run's folder holds several models; which of them is meant is the user's to say."""
    if (place / CONFIG_FILE).is_file() or not place.is_dir():
        return
    names = [path.name for path in place.iterdir() if path.is_dir()]
    there = (worst_first(names) or by_step(names))[-1:]
    if there:
        raise CheckpointError(
            f"{place} holds checkpoints, not one model; give one of them, e.g. {place / there[0]}"
        )


def _download(
    repository: str,
    subfolder: str,
    revision: str | None,
    cache_dir: str | Path | None,
) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [f"{subfolder}/{name}" if subfolder else name for name in FILES]
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, cache_dir=cache_dir, allow_patterns=patterns
            )
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{repository} is no directory here, and as a hub repository it cannot be fetched: "
            f"{str(error).splitlines()[0]}"
        ) from None


def read_tokenizer(folder: Path) -> Any:
    """The ``WhisperTokenizerFast`` of a directory, whatever class its files name.

    Raises:
        CheckpointError: files missing or damaged, or they name code to run.
    """
    from transformers import WhisperTokenizerFast

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise CheckpointError(
            f"{folder} has no tokenizer.json; take the tokenizer files of the model it was made of"
        )
    check_tokenizer_config(folder)
    with _damage_of(folder, "the tokenizer files"):
        return WhisperTokenizerFast.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def _damage_of(folder: Path, what: str) -> Iterator[None]:
    """Whatever the libraries raise over damaged files, in one sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises the bare class
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise CheckpointError(f"{folder}: {what} are damaged ({reason}); copy them again") from None


def build_model(
    config: Any,
    weights: Mapping[str, Tensor],
    source: str,
    *,
    attn_implementation: str = "sdpa",
) -> Any:
    """A ``WhisperForConditionalGeneration`` with given weights, in eval mode.

    Args:
        config: ``WhisperConfig``.
        weights: by transformers' names; the output projection may be missing.
        source: where they come from, for messages.
        attn_implementation: ``sdpa`` or ``eager``.

    Raises:
        CheckpointError: weights that do not fit; every name at fault is listed.
        ConfigError: a configuration of which no model can be built.
    """
    from transformers import WhisperForConditionalGeneration

    state = dict(weights)
    # On the meta device nothing is initialised and no memory is used twice.
    with problems_of(f"{source}: {CONFIG_FILE}"), torch.device("meta"):
        model = WhisperForConditionalGeneration._from_config(
            config, attn_implementation=attn_implementation
        )
    _tie(state, source)
    check_fit(model, state, source)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    return model.eval()


def _tie(state: dict[str, Tensor], source: str) -> None:
    """Give the output projection the embedding's weights, as transformers does when it loads."""
    embedding = state.get(_EMBEDDING)
    if embedding is None:
        return  # listed as missing by the check that follows
    if _OUTPUT in state and not torch.equal(state[_OUTPUT], embedding):
        raise CheckpointError(
            f"{source}: {_OUTPUT} differs from {_EMBEDDING}, but Whisper has one matrix for both; "
            "these weights would lose their output layer"
        )
    state[_OUTPUT] = embedding


def _read_weights(folder: Path) -> dict[str, Tensor]:
    index = folder / f"{WEIGHTS_FILE}.index.json"
    if not index.is_file() or (folder / WEIGHTS_FILE).is_file():
        return read_safetensors(folder / WEIGHTS_FILE)
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict):
        raise CheckpointError(f"{index} has no `weight_map`; copy it again")
    state: dict[str, Tensor] = {}
    for shard in sorted({str(name) for name in names.values()}):
        if Path(shard).name != shard:
            raise CheckpointError(f"{index} names {short(shard)}, which is not a file beside it")
        state |= read_safetensors(folder / shard)
    return state


def _check_together(
    config: Any, tokenizer: Any, extractor: Any, specials: SpecialIds, folder: Path
) -> None:
    """Refuse files of different models in one directory."""
    frames = 2 * config.max_source_positions
    problems = []
    if config.decoder_start_token_id != specials.start or len(tokenizer) > config.vocab_size:
        problems.append(
            f"the tokenizer has {len(tokenizer)} tokens and starts with {specials.start}, the "
            f"model has {config.vocab_size} and starts with {config.decoder_start_token_id} (one "
            "of them may be multilingual, the other English-only)"
        )
    if extractor.feature_size != config.num_mel_bins:
        problems.append(
            f"the feature extractor has {extractor.feature_size} mel bins, the model "
            f"{config.num_mel_bins}"
        )
    if extractor.nb_max_frames != frames:
        problems.append(
            f"the feature extractor gives {extractor.nb_max_frames} frames, the model takes "
            f"{frames} (2 x max_source_positions)"
        )
    if problems:
        raise CheckpointError(
            f"{folder} mixes files of different models: {'; '.join(problems)}. Copy all files of "
            "one model"
        )
