"""What the user asks of the feature cache."""

from __future__ import annotations

import argparse
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_kd.errors import ConfigError

MODES = ("off", "exact", "isolated", "pooled", "auto")
_AUTO = {"asr": "exact", "quesst14_dtw": "exact"}
"""S3PRL's tasks whose batches come again whole; others are isolated, or pooled where that goes."""
SHUFFLED = (
    "speech_commands",
    "voxceleb1",
    "fluent_commands",
    "emotion",
    "sv_voxceleb1",
    "diarization",
)
"""S3PRL's tasks that draw each batch of the training anew: as a whole, none comes again."""
DTYPES = ("float32", "float16")
HELP = """\
  --feature_memory GB      keep features in memory, up to so many GB (default 0); alone it means
                           --feature_cache exact: ASR's batches, and all of dev and test, come again
  --feature_cache MODE     compute features once. exact: whole batches that come again, the same
                           result bit for bit; isolated: single utterances (PR, SF, SD, ASV);
                           pooled: their means over time (SID, KS, IC, ER), those of an epoch
                           before its first step; auto: by the task
  --feature_cache_dir DIR  where they are kept, keyed by the upstream's weights: runs may share it
                           (default EXPDIR/feature_cache, unless --feature_memory is given)
  --feature_cache_gb GB    what the files there may take (default 50)
  --feature_cache_dtype T  float16 halves the files and rounds features (relative 5e-4)
  --feature_cache_crops N  SID, ASV, KS: cut long recordings at N fixed places instead of anywhere
                           (default 0, anywhere: such cuts never come again)
  --feature_cache_prefill  compute all splits before the first step, long and short ones apart
"""
"""Lines of the wrapper's help."""


@dataclass(frozen=True)
class CacheOptions:
    """Options of the feature cache, named as on the command line."""

    mode: str = "off"
    """``off``, ``exact`` (whole batches), ``isolated`` (utterances), ``pooled`` (their means), or
    ``auto``."""
    folder: str | None = None
    """Folder of the files; None = in the experiment, or memory alone."""
    disk_gb: float = 50.0
    """Gigabytes (1e9 bytes) that all files in the folder may take."""
    memory_gb: float = 0.0
    """Gigabytes that features may take in memory."""
    dtype: str = "float32"
    """Number format of what is kept."""
    crops: int = 0
    """Fixed places at which a long recording is cut; 0 = anywhere, as the task draws."""
    prefill: bool = False
    """Compute all splits before the first step."""

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self.mode != "off"

    def in_experiment(self, expdir: str | Path) -> CacheOptions:
        """Name the default folder, unless there is one already or memory alone is to be used.

        Runs in subfolders of the experiment (folds of ER, layers of QbE) then share it.
        """
        if not self.on or self.folder is not None or self.memory_gb > 0:
            return self
        return replace(self, folder=str(Path(expdir) / "feature_cache"))

    def for_task(self, downstream: str, linear: bool) -> CacheOptions:
        """Choose a mode in place of ``auto``.

        Args:
            downstream: S3PRL's folder of the task.
            linear: whether its head is linear up to a mean over time.
        """
        if self.mode != "auto":
            return self
        mode = _AUTO.get(downstream, "pooled" if linear else "isolated")
        if mode == "exact":
            return replace(self, mode=mode, dtype="float32", crops=0, prefill=False)
        return replace(self, mode=mode)

    def problems(self) -> list[str]:
        """All that is wrong with them."""
        one_by_one = self.mode in ("isolated", "pooled", "auto")
        checks = {
            f"--feature_cache {self.mode}: choose {', '.join(MODES)}": self.mode in MODES,
            f"--feature_cache_dtype {self.dtype}: choose {' or '.join(DTYPES)}": self.dtype
            in DTYPES,
            f"--feature_cache_gb {self.disk_gb:g}: a number above 0": self.disk_gb > 0,
            f"--feature_memory {self.memory_gb:g}: a number from 0 on": self.memory_gb >= 0,
            f"--feature_cache_crops {self.crops}: a number from 0 on": self.crops >= 0,
            "--feature_cache_dtype float16 rounds features and exact keeps them: choose isolated "
            "or pooled": self.mode != "exact" or self.dtype != "float16",
            "--feature_cache_crops and --feature_cache_prefill need --feature_cache isolated or "
            "pooled": one_by_one or not (self.crops or self.prefill),
        }
        return [problem for problem, fine in checks.items() if not fine]


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Let a parser read the options."""
    group = parser.add_argument_group("feature cache")
    group.add_argument("--feature_cache", default=None)
    group.add_argument("--feature_cache_dir", default=None)
    group.add_argument("--feature_cache_gb", type=float, default=CacheOptions.disk_gb)
    group.add_argument("--feature_cache_dtype", default=CacheOptions.dtype)
    group.add_argument("--feature_cache_crops", type=int, default=0)
    group.add_argument("--feature_cache_prefill", action="store_true")
    group.add_argument("--feature_memory", type=float, default=0.0)


def _refuse_without_mode(known: Namespace) -> None:
    defaults = {"dir": None, "gb": CacheOptions.disk_gb, "dtype": CacheOptions.dtype}
    given = [f"feature_cache_{name}" for name in defaults]
    changed = [n for n, v in zip(given, defaults.values(), strict=True) if getattr(known, n) != v]
    if changed:
        names = ", ".join(f"--{name}" for name in changed)
        raise ConfigError("feature cache", [f"{names}: name a mode, --feature_cache auto"])


def take_cache_options(known: Namespace) -> CacheOptions:
    """Take the options out of what a parser read.

    Raises:
        ConfigError: names all that cannot be.
    """
    memory = known.feature_memory
    if known.feature_cache is None and memory == 0:
        _refuse_without_mode(known)
    options = CacheOptions(
        mode=known.feature_cache or ("exact" if memory > 0 else "off"),
        folder=known.feature_cache_dir,
        disk_gb=known.feature_cache_gb,
        memory_gb=memory,
        dtype=known.feature_cache_dtype,
        crops=known.feature_cache_crops,
        prefill=known.feature_cache_prefill,
    )
    for name in [name for name in vars(known) if name.startswith(("feature_cache", "feature_mem"))]:
        delattr(known, name)
    if problems := options.problems():
        raise ConfigError("feature cache", problems)
    return options
