"""Labels decoded by CTranslate2: the same text as float32 transformers, with less time and memory.

CTranslate2 reads a folder of its own format, which its converter makes of a model. Tokenizer,
feature extractor and generation configuration go with it, so the folder is all that decoding needs
(faster-whisper reads it too). CTranslate2 returns text alone: the prefix is put before it here.

Shape suffixes: B segments, M mel bins, F feature frames.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_kd.errors import CheckpointError, KDError, MissingDependencyError
from espnet_kd.utils.files import atomic_folder, write_json
from espnet_kd.utils.model_directory import read_json
from espnet_kd.whisper.config import read_feature_extractor, read_generation_config
from espnet_kd.whisper.generate import check_prefixes
from espnet_kd.whisper.hypothesis import DecodingOptions, Hypothesis
from espnet_kd.whisper.load import FILES, WhisperBundle, read_tokenizer
from espnet_kd.whisper.specials import SpecialIds

STAMP = "converted_from.json"
"""Says which weights a converted folder was made of."""

MODEL_FILE = "model.bin"
_OWN_FILES = (MODEL_FILE, "vocabulary.json", "vocabulary.txt", STAMP)
COMPUTE_TYPES = ("float32", "float16", "bfloat16", "int8", "int8_float16", "int8_bfloat16")
_LAST_TIMESTAMP = 1500


def convert_to_ctranslate2(bundle: WhisperBundle, folder: str | Path) -> Path:
    """Convert a loaded model with CTranslate2's own converter; a good folder of it is kept.

    The weights stay as precise as they are: CTranslate2 quantises while it loads them.

    Args:
        bundle: a model on the CPU.
        folder: where to write.

    Raises:
        MissingDependencyError: CTranslate2 is not installed.
        CheckpointError: CTranslate2 cannot convert the model.
        KDError: ``folder`` holds something else, or cannot be written.
    """
    _import_ctranslate2()
    target = Path(folder)
    stamp = {
        "model": bundle.name,
        "weights_sha256": weights_digest(bundle),
        "max_target_positions": bundle.model.config.max_target_positions,
    }
    if is_converted(target) and read_json(target / STAMP) == stamp:
        return target
    with atomic_folder(target, replaces=(*FILES, *_OWN_FILES)) as new:
        _convert(bundle, new)
        bundle.tokenizer.save_pretrained(new)
        bundle.feature_extractor.save_pretrained(new)
        bundle.model.generation_config.save_pretrained(new)
        write_json(new / STAMP, stamp)
    return target


def is_converted(folder: str | Path) -> bool:
    """Whether :func:`convert_to_ctranslate2` wrote the folder."""
    return all((Path(folder) / name).is_file() for name in (MODEL_FILE, STAMP))


def load_converted(folder: str | Path) -> WhisperBundle:
    """What belongs to a converted model; its ``model`` has configurations, but no weights.

    Raises:
        CheckpointError: files missing or damaged.
    """
    place = Path(folder)
    if not is_converted(place):
        raise CheckpointError(f"{place} is no model converted by this package; convert it again")
    generation = read_generation_config(place)
    tokenizer = read_tokenizer(place)
    multilingual = getattr(generation, "is_multilingual", None)
    stamp = read_json(place / STAMP)
    config = SimpleNamespace(max_target_positions=int(stamp.get("max_target_positions", 448)))
    return WhisperBundle(
        SimpleNamespace(generation_config=generation, config=config),
        tokenizer,
        read_feature_extractor(place),
        SpecialIds.of(tokenizer, is_multilingual=multilingual),
        str(stamp.get("model", place.name)),
    )


def _convert(bundle: WhisperBundle, folder: Path) -> None:
    """Write CTranslate2's files of what is loaded already: nothing is loaded again, unchecked."""
    from ctranslate2.converters import TransformersConverter

    class BundleConverter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, *_: Any, **__: Any) -> Any:
            return bundle.model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return bundle.tokenizer

    with tempfile.TemporaryDirectory() as described:
        bundle.model.config.save_pretrained(described)
        try:
            BundleConverter(described).convert(str(folder), force=True)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"CTranslate2 cannot convert {bundle.name}: {error}") from error


def weights_digest(bundle: WhisperBundle) -> str:
    """Checksum of names and values of all weights, the same wherever the files lie."""
    digest = hashlib.sha256()
    for name, tensor in sorted(bundle.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _import_ctranslate2() -> Any:
    try:
        import ctranslate2
    except ImportError:
        raise MissingDependencyError(
            "CTranslate2 is not installed; install it with `uv pip install ctranslate2` (extra "
            "`faster-whisper`), or use --backend transformers"
        ) from None
    return ctranslate2


class CTranslate2Backend:
    """Decode with a converted model; entropies are not offered, ln p only as a mean."""

    name = "ctranslate2"

    def __init__(
        self,
        folder: str | Path,
        bundle: WhisperBundle,
        options: DecodingOptions,
        *,
        device: str = "cpu",
        compute_type: str = "float32",
        threads: int | None = None,
    ) -> None:
        """Load a folder that :func:`convert_to_ctranslate2` wrote.

        Args:
            folder: the converted model.
            bundle: what belongs to it, see :func:`load_converted`.
            options: length, beams, timestamps.
            device: ``cpu``, ``cuda`` or ``cuda:1``.
            compute_type: one of :data:`COMPUTE_TYPES`.
            threads: of the CPU; by default as many as torch has.

        Raises:
            MissingDependencyError: CTranslate2 is not installed.
            CheckpointError: no such folder, or the device lacks the compute type.
        """
        ctranslate2 = _import_ctranslate2()
        self.options = options
        self.specials = bundle.specials
        self.generation = bundle.model.generation_config
        self._view = ctranslate2.StorageView
        place = torch.device(device)
        try:
            self.model = ctranslate2.models.Whisper(
                str(folder),
                device=place.type,
                device_index=place.index or 0,
                compute_type=compute_type,
                intra_threads=threads or torch.get_num_threads(),
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"CTranslate2 cannot load {folder}: {error}") from error

    def encode(self, features_BMF: Tensor) -> Any:
        """Run the encoder."""
        array_BMF = np.ascontiguousarray(features_BMF.float().cpu().numpy())
        try:
            return self.model.encode(self._view.from_array(array_BMF))
        except RuntimeError as error:
            raise _failure(error) from error

    def detect_languages(self, encoded: Any) -> list[int]:
        """The likeliest language token of each segment."""
        codes = [ranked[0][0].strip("<|>") for ranked in self.model.detect_language(encoded)]
        return [self.specials.languages[code] for code in codes]

    def generate(self, encoded: Any, prefixes: Sequence[Sequence[int]]) -> list[Hypothesis]:
        """Decode after the given prefixes.

        Raises:
            WhisperError: prefixes of several lengths, or not one for each segment.
            KDError: the device has too little memory.
        """
        check_prefixes(prefixes, encoded.shape[0], self.options)
        length = len(prefixes[0])
        new = self.options.max_label_length - length
        generation = self.generation
        latest = getattr(generation, "max_initial_timestamp_index", None)
        try:
            results = self.model.generate(
                encoded,
                [list(prefix) for prefix in prefixes],
                beam_size=self.options.num_beams,
                # Decodes min(max_length / 2, max_length - prefix) tokens.
                max_length=max(2 * new, new + length),
                return_scores=True,
                suppress_blank=bool(generation.begin_suppress_tokens),
                suppress_tokens=list(generation.suppress_tokens or []),
                max_initial_timestamp_index=_LAST_TIMESTAMP if latest is None else latest,
            )
        except RuntimeError as error:
            raise _failure(error) from error
        return [
            self._hypothesis(prefix, result, new)
            for prefix, result in zip(prefixes, results, strict=True)
        ]

    def _hypothesis(self, prefix: Sequence[int], result: Any, most: int) -> Hypothesis:
        """The result's score is a sum over its tokens, divided by their number without the end."""
        tokens = tuple(int(i) for i in result.sequences_ids[0] if i != self.specials.end)
        finished = len(tokens) < most
        total = float(result.scores[0]) * max(1, len(tokens))
        return Hypothesis(
            prefix=tuple(prefix),
            tokens=tokens,
            finished=finished,
            avg_logprob=total / (len(tokens) + finished),
        )


def _failure(error: RuntimeError) -> KDError:
    if "memory" in str(error).lower():
        return KDError(
            "the device has too little memory for this batch; lower "
            "--per_device_eval_batch_size, or use --compute_type int8"
        )
    return KDError(f"CTranslate2 failed: {error}")
