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

REMEMBERED = 4096
"""Files that are known to be good as long as they are not written again."""

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
    """Return ``read`` with checks before and after it, of a file that has not been read lately.

    KS cuts each second of its silence out of a minute of noise, which is read every time.

    Args:
        read: takes a path first and returns samples and a rate, such as ``torchaudio.load``; of one
            that an earlier run in this process wrapped, the function inside.
        policy: what is acceptable.
    """
    read = getattr(read, _MARK, read)
    good: dict[tuple[str, int, int], None] = {}

    def checking(source: Any, *args: Any, **options: Any) -> tuple[Any, int]:
        if not isinstance(source, str | Path):
            return read(source, *args, **options)
        name, state = Path(source).stem, _state(source)
        is_new = state is None or state not in good
        if is_new:
            inspect_audio(source, name, policy)
        try:
            wave, rate = read(str(source), *args, **options)
        except KDError:
            raise
        except Exception as error:
            raise AudioError(f"{source}: damaged inside ({error}); restore or remove it") from error
        if is_new:
            check_samples(wave.numpy() if hasattr(wave, "numpy") else wave, name, source)
        if is_new and state is not None:
            if len(good) == REMEMBERED:
                del good[next(iter(good))]
            good[state] = None
        return wave, rate

    setattr(checking, _MARK, read)
    return checking


def _state(source: str | Path) -> tuple[str, int, int] | None:
    """Return what tells a file from what it may be later; None = it is not there."""
    try:
        found = Path(source).stat()
    except OSError:
        return None
    return str(source), found.st_mtime_ns, found.st_size
