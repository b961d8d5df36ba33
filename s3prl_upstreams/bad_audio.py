"""Say which recording is bad when S3PRL meets it in the middle of a training.

S3PRL's data sets read files one by one, hours after the start, and their errors name no file; a
truncated WAV or one with NaN is not noticed at all. The readers of the running task are wrapped.
"""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from espnet_kd.data.audio import AudioPolicy, check_samples, inspect_audio
from espnet_kd.errors import AudioError, KDError

Reader = Callable[..., tuple[Any, int]]

STRICT = ("asr", "ctc", "voxceleb1", "fluent_commands")
"""Tasks that read samples as they are; the others resample and mix down."""

_MARK = "checks_audio"


def name_bad_audio(args: Namespace, config: dict[str, Any]) -> str | None:
    """Wrap the functions by which the task of a run reads audio; a repair like those in mends."""
    import soundfile
    import torchaudio

    policy = policy_of(args.downstream)
    torchaudio.load = checked(torchaudio.load, policy)
    effects = getattr(torchaudio, "sox_effects", None)
    if effects is not None:
        effects.apply_effects_file = checked(effects.apply_effects_file, policy)
        # A data set that was imported earlier holds the function of that time.
        dataset: Any = sys.modules.get(f"s3prl.downstream.{args.downstream}.dataset")
        if hasattr(dataset, "apply_effects_file"):
            dataset.apply_effects_file = effects.apply_effects_file
    if args.downstream == "diarization":
        dataset = importlib.import_module("s3prl.downstream.diarization.dataset")
        dataset.sf = SimpleNamespace(read=checked(soundfile.read, policy))
    return None


def policy_of(downstream: str) -> AudioPolicy:
    """Return what a task accepts."""
    if downstream in STRICT:
        return AudioPolicy()
    return AudioPolicy(rate_policy="resample", channels="first")


def checked(read: Reader, policy: AudioPolicy) -> Reader:
    """Return ``read`` with checks before and after it.

    Args:
        read: takes a path first and returns samples and a rate, such as ``torchaudio.load``; of one
            that an earlier run in this process wrapped, the function inside.
        policy: what is acceptable.
    """
    read = getattr(read, _MARK, read)

    def checking(source: Any, *args: Any, **options: Any) -> tuple[Any, int]:
        if not isinstance(source, str | Path):
            return read(source, *args, **options)
        name = Path(source).stem
        inspect_audio(source, name, policy)
        try:
            wave, rate = read(str(source), *args, **options)
        except KDError:
            raise
        except Exception as error:
            raise AudioError(f"{source}: damaged inside ({error}); restore or remove it") from error
        check_samples(wave.numpy() if hasattr(wave, "numpy") else wave, name, source)
        return wave, rate

    setattr(checking, _MARK, read)
    return checking
