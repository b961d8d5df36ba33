"""The command line of ``run_downstream``: S3PRL's own options plus a few of ours."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_kd.errors import ConfigError
from s3prl_upstreams.cache.options import HELP as CACHE_HELP
from s3prl_upstreams.cache.options import CacheOptions, add_cache_options, take_cache_options
from s3prl_upstreams.tasks import Task, find_task

OWN_OPTIONS = (
    """\
options of this wrapper (all others are S3PRL's own, see below):
  -m                       may be left out: train, then evaluate the best checkpoint (test split);
                           ASV: every checkpoint; ER: all five folds; QbE: every layer, no training
  -d TASK                  one of PR ASR KS QbE SID ASV SD IC SF ER, for which -c is optional
  --superb_variant NAME    lay conf/superb/NAME/TASK.yaml over the defaults (armhubert: the authors'
                           schedules, SID learning rate x 10)
  --lr_sweep "RATE ..."    train with each learning rate; the best on the development split counts
                           (of SD its frame accuracy there, as S3PRL writes DER's input for test)
                           (ASV, which has none: on its trials, as its checkpoints do)
  --data DIR               folder in which the corpus of the task is looked for
  --upstream_dtype TYPE    bfloat16: our upstreams compute in half precision (repeat it with -e)
  --no_quick_lstm          train LSTM heads (ASR, SF) on a CPU by torch's own code: equal up to
                           rounding to the default, --quick_lstm, and slower
  --no_quick_start         import S3PRL's whole hub even where our upstreams do not need it
"""
    + CACHE_HELP
)
"""Shown above S3PRL's own help."""

STATES = "states-*.ckpt"
"""S3PRL's regular checkpoints, with which ``-a`` goes on."""

_FLAGS: dict[str, tuple[str, ...]] = {
    "mode": ("-m", "--mode"),
    "split": ("-t", "--evaluate_split"),
    "upstream": ("-u", "--upstream"),
    "ckpt": ("-k", "--upstream_ckpt"),
    "model_config": ("-g", "--upstream_model_config"),
    "downstream": ("-d", "--downstream"),
    "config": ("-c", "--config"),
    "expname": ("-n", "--expname"),
    "expdir": ("-p", "--expdir"),
    "past_exp": ("-e", "--past_exp"),
    "init_ckpt": ("-i", "--init_ckpt"),
    "device": ("--device",),
    "local_rank": ("--local_rank", "--local-rank"),
    "override": ("-o", "--override"),
    "layer": ("-l", "--upstream_layer_selection"),
}
_RESUME = ("-a", "--auto_resume")
_PATHS = ("ckpt", "model_config", "config")


@dataclass(frozen=True)
class Invocation:
    """What the wrapper needs to know of a command line; everything else passes through."""

    mode: str | None = None
    split: str | None = None
    upstream: str | None = None
    ckpt: str | None = None
    model_config: str | None = None
    downstream: str | None = None
    task: Task | None = None
    config: str | None = None
    expname: str | None = None
    expdir: str | None = None
    past_exp: str | None = None
    init_ckpt: str | None = None
    device: str | None = None
    local_rank: str | None = None
    override: str | None = None
    layer: str | None = None
    variant: str | None = None
    rates: tuple[str, ...] = ()
    """Learning rates to try; none = the configured one."""
    home: str | None = None
    """Where tables are made that the parts of a run share (folds, checkpoints, learning rates);
    None = in the experiment folder that S3PRL works in."""
    data: str | None = None
    dtype: str | None = None
    cache: CacheOptions = field(default_factory=CacheOptions)
    quick_lstm: bool = True
    quick_start: bool = True
    rest: tuple[str, ...] = field(default=())
    """Options that only S3PRL looks at, in their order."""

    @classmethod
    def parse(cls, argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Invocation:
        """Read a command line.

        ``torchrun`` passes the local rank in the environment and ``torch.distributed.launch`` as
        ``--local-rank``; S3PRL knows only ``--local_rank``. Relative paths of checkpoints become
        absolute because S3PRL stores them in its own checkpoints.

        Raises:
            ConfigError: a learning rate or an option of the cache that cannot be.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name, flags in _FLAGS.items():
            parser.add_argument(*flags, dest=name)
        parser.add_argument("--superb_variant", dest="variant")
        parser.add_argument("--lr_sweep", dest="rates")
        parser.add_argument("--data")
        parser.add_argument("--upstream_dtype", dest="dtype")
        add_cache_options(parser)
        parser.add_argument("--quick_lstm", action="store_true", default=True)
        parser.add_argument("--no_quick_lstm", dest="quick_lstm", action="store_false")
        parser.add_argument("--no_quick_start", dest="quick_start", action="store_false")
        known, rest = parser.parse_known_args(list(argv))
        cache = take_cache_options(known)
        values = vars(known)
        if (values["override"] or "").lower() == "none":  # S3PRL's word for no change
            values["override"] = None
        values["rates"] = () if values["rates"] is None else parse_rates(values["rates"])
        for name in _PATHS:
            values[name] = _absolute(values[name])
        task = find_task(values["downstream"])
        if task is not None:
            values["task"], values["downstream"] = task, task.downstream
        if values["local_rank"] is None and "RANK" in environ:
            values["local_rank"] = environ.get("LOCAL_RANK")
        return cls(**values, cache=cache, rest=tuple(rest))

    def argv(self) -> list[str]:
        """Return the command line for S3PRL's own parser."""
        words: list[str] = []
        for name, flags in _FLAGS.items():
            value = getattr(self, name)
            if value is not None:
                words += [flags[0], str(value)]
        return words + list(self.rest)

    def completed(self, *, config: str | None, device: str) -> Invocation:
        """Return the command with S3PRL's defaults replaced by ones that work here.

        Args:
            config: file for a new experiment without ``-c``.
            device: for a command without ``--device``.
        """
        done = replace(self, device=self.device or device, config=self.config or config)
        if self.expname is None and self.expdir is None and self.past_exp is None:
            done = replace(done, expname=f"{self.upstream}_{self.downstream}")
        if done.past_exp is None or done.mode is None:  # else S3PRL knows it from the checkpoint
            done = replace(done, cache=done.cache.in_experiment(done.folder))
        return done

    def evaluation(self, checkpoint: Path) -> Invocation:
        """Return the command that evaluates a checkpoint of this run."""
        rest = tuple(word for word in self.rest if word not in _RESUME)
        return replace(self, mode="evaluate", past_exp=str(checkpoint), rest=rest)

    def with_override(self, text: str) -> Invocation:
        """Return the command with one more change of the configuration (S3PRL's ``-o`` syntax)."""
        return replace(self, override=",,".join(filter(None, (self.override, text))))

    def within(self, name: str) -> Invocation:
        """Return the command for a run in a subfolder of this one's experiment folder."""
        return replace(self, expname=None, expdir=str(self.folder / name))

    @property
    def folder(self) -> Path:
        """Experiment folder; of a run that goes on, and names no other, its checkpoint's.

        S3PRL would take the one stored in the checkpoint, even where that was moved elsewhere, and
        not listen to ``-p``: see :mod:`~s3prl_upstreams.moved`.
        """
        if self.expdir is None and self.expname is None and self.past_exp is not None:
            return self.states
        return Path(self.expdir or f"result/downstream/{self.expname}")

    @property
    def states(self) -> Path:
        """Folder of the checkpoints that it begins with, or will write."""
        if self.past_exp is None:
            return self.folder
        given = Path(self.past_exp)
        return given if given.is_dir() else given.parent

    @property
    def goes_on(self) -> bool:
        """Whether ``-a`` was given: what is done already is not done again."""
        return any(word in _RESUME for word in self.rest)

    @property
    def takes_states(self) -> bool:
        """Whether it goes on with what its folder holds; S3PRL drops ``-e`` then."""
        return self.goes_on and any(self.folder.glob(STATES))

    @property
    def resumes(self) -> bool:
        """Whether configuration and arguments come from an earlier checkpoint."""
        return self.past_exp is not None or self.takes_states


def parse_rates(text: str) -> tuple[str, ...]:
    """Read learning rates with spaces or commas between; each keeps its spelling, for folders.

    Raises:
        ConfigError: there is none, or one that is not a finite number above 0.
    """
    rates = tuple(dict.fromkeys(text.replace(",", " ").split()))
    problems = [f"{rate}: not a number above 0" for rate in rates if not _is_rate(rate)]
    if not rates:
        problems = ["no learning rate"]
    if problems:
        raise ConfigError('--lr_sweep, such as "1e-3 1e-4"', problems)
    return rates


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _absolute(path: str | None) -> str | None:
    """Make the path of an existing file absolute; URLs and names stay as they are."""
    if path is None or not Path(path).expanduser().exists():
        return path
    return str(Path(path).expanduser().absolute())
