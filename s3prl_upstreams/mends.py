"""Repairs of what breaks in S3PRL 0.4.18 from PyPI on torch 2.8, made from outside.

Each function looks whether its repair is needed, makes it, and returns one line about it, or None
when there was nothing to do. They change the running process only: whoever does not use
``python -m s3prl_upstreams.run_downstream`` gets S3PRL as it is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from espnet_kd.errors import MissingDependencyError
from s3prl_upstreams.bad_audio import name_bad_audio
from s3prl_upstreams.fill import cache_folder
from s3prl_upstreams.saves import WholeSaves
from s3prl_upstreams.sox import apply_effects_file, libsox_works
from s3prl_upstreams.speaker_lengths import provide_lengths

Config = dict[str, Any]
Mend = Callable[[], "str | None"]
RunMend = Callable[[Namespace, Config], "str | None"]

_reported: set[str] = set()


def report(lines: Iterable[str | None]) -> None:
    """Say each repair once per process, on stderr."""
    for line in lines:
        if line is not None and line not in _reported:
            _reported.add(line)
            print(f"[espnet_kd] mended: {line}", file=sys.stderr)


# Before S3PRL is imported


def allow_namespace() -> str | None:
    """Let ``torch.load`` read S3PRL's own checkpoints: they hold an ``argparse.Namespace``.

    torch >= 2.6 refuses every class that is not allowed by name, so evaluating and resuming fail.
    """
    import torch

    if Namespace in torch.serialization.get_safe_globals():
        return None
    torch.serialization.add_safe_globals([argparse.Namespace])
    return "S3PRL's checkpoints can be read again (argparse.Namespace allowed for torch.load)"


def keep_audio_backend() -> str | None:
    """Give torchaudio >= 2.9 the ``set_audio_backend`` that S3PRL calls; a no-op since 2.1."""
    import torchaudio

    if hasattr(torchaudio, "set_audio_backend"):
        return None
    torchaudio.set_audio_backend = lambda backend: None
    return "torchaudio.set_audio_backend (removed there) does nothing"


def load_without_torchcodec() -> str | None:
    """Let soundfile read audio where torchaudio >= 2.9 would ask for torchcodec."""
    import torchaudio

    codec_reads = hasattr(torchaudio, "load_with_torchcodec")  # there since 2.8, alone since 2.9
    if not codec_reads or hasattr(torchaudio, "info") or _has("torchcodec"):
        return None
    if torchaudio.load is not load_by_soundfile:
        torchaudio.load = load_by_soundfile
    return "torchaudio.load (which needs torchcodec there) reads by soundfile"


def load_by_soundfile(
    uri: Any, frame_offset: int = 0, num_frames: int = -1, **options: Any
) -> tuple[Any, int]:
    """Read audio as ``torchaudio.load`` does by default: (C, S) float32 and the rate in Hz."""
    import soundfile
    import torch

    unknown = {key for key in options if key not in ("format", "backend", "buffer_size")}
    if unknown:
        raise TypeError(f"torchaudio.load by soundfile has no {', '.join(sorted(unknown))}")
    wave, rate = soundfile.read(
        uri, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True
    )
    return torch.from_numpy(wave.T.copy()), rate


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def keep_hub_classes() -> str | None:
    """Give huggingface_hub >= 1 the class names that S3PRL's runner imports for uploads."""
    import huggingface_hub

    missing = [n for n in ("HfFolder", "Repository") if not hasattr(huggingface_hub, n)]
    for name in missing:
        setattr(huggingface_hub, name, type(name, (), {}))
    return f"huggingface_hub: {', '.join(missing)} (removed there) are empty" if missing else None


def provide_tensorboard_writer() -> str | None:
    """Let torch's TensorBoard writer serve as ``tensorboardX``, which S3PRL does not require."""
    if _has("tensorboardX"):
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "S3PRL's runner needs tensorboardX: pip install tensorboardX"
        ) from error
    stand_in = ModuleType("tensorboardX")
    stand_in.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    sys.modules["tensorboardX"] = stand_in
    return "torch.utils.tensorboard serves as tensorboardX"


def quiet_deprecations() -> str | None:
    """Hide what S3PRL's and torchaudio's authors tell each other about coming releases."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"s3prl\.")
    for module in (r"s3prl\.", r"torchaudio\."):
        message = r"(?s).*(deprecated|In 2\.9)"
        warnings.filterwarnings("ignore", message, category=UserWarning, module=module)
    return None


BEFORE_IMPORT: tuple[Mend, ...] = (
    allow_namespace,
    keep_audio_backend,
    load_without_torchcodec,
    keep_hub_classes,
    provide_tensorboard_writer,
    quiet_deprecations,
)


def keep_isinstance(stock: Any) -> str | None:
    """Leave Python's ``isinstance`` alone: S3PRL replaces it for the sake of torch < 1.8."""
    if getattr(stock.hack_isinstance, "__module__", None) == __name__:
        return None
    stock.hack_isinstance = _leave_isinstance
    return "builtins.isinstance stays Python's own"


def _leave_isinstance() -> None:
    """Stand in S3PRL's ``hack_isinstance``."""


# Once arguments and configuration are known, before the run begins


def ignore_cuda(args: Namespace, config: Config) -> str | None:
    """Make ``Tensor.cuda()`` the identity where there is no GPU; ASV, SE and SS call it always."""
    import torch

    if torch.cuda.is_available() or not str(args.device).startswith("cpu"):
        return None
    if getattr(torch.Tensor.cuda, "__module__", None) == __name__:
        return None
    torch.Tensor.cuda = _stay  # type: ignore[method-assign,assignment]
    return "no GPU: Tensor.cuda() leaves tensors where they are"


def _stay(tensor: Any, *args: Any, **kwargs: Any) -> Any:
    return tensor


def provide_ctc_corpora(args: Namespace, config: Config) -> str | None:
    """Supply ``s3prl.downstream.ctc.corpus``, a folder that the wheel left out."""
    name = "s3prl.downstream.ctc.corpus"
    if args.downstream != "ctc" or name in sys.modules or importlib.util.find_spec(name):
        return None
    package = importlib.import_module("s3prl_upstreams.corpus")
    sys.modules[name] = package
    importlib.import_module("s3prl.downstream.ctc").corpus = package  # type: ignore[attr-defined]
    return f"{name} (not in S3PRL's wheel) supplied for libriphone and snips"


def keep_ctc_workers(args: Namespace, config: Config) -> str | None:
    """Keep ``num_workers`` for every loader: the ctc task takes it out of its configuration.

    Later loaders, and every evaluation of its checkpoints, would use 12 workers.
    """
    if args.downstream != "ctc":
        return None
    expert: Any = importlib.import_module("s3prl.downstream.ctc.expert")
    stock = expert.load_dataset
    if getattr(stock, "__module__", None) == __name__:
        return None

    def load_dataset(split: str, tokenizer: Any, corpus: Config) -> Any:
        return stock(split, tokenizer, dict(corpus))

    expert.load_dataset = load_dataset
    return "corpus.num_workers holds for every loader of the ctc task"


def limit_workers(args: Namespace, config: Config) -> str | None:
    """Start no more loader processes than there are cores (the stock files ask for 8 to 24)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    expert = config.get("downstream_expert", {})
    blocks = [expert.get(name) for name in ("datarc", "corpus", "loaderrc")]
    for block in (block for block in blocks if isinstance(block, dict)):
        wanted = block.get("num_workers")
        if isinstance(wanted, int) and cores and wanted > cores:
            block["num_workers"] = cores
            return f"num_workers {wanted} -> {cores}, the cores of this machine"
    return None


def replace_sox_effects(args: Namespace, config: Config) -> str | None:
    """Apply sox effects without libsox, which torchaudio asks for under a development name."""
    import torchaudio

    if args.downstream not in _USE_SOX or libsox_works():
        return None
    effects: Any = getattr(torchaudio, "sox_effects", None)
    if effects is None:
        effects = sys.modules["torchaudio.sox_effects"] = ModuleType("torchaudio.sox_effects")
        torchaudio.sox_effects = effects
    if getattr(effects, "apply_effects_file", None) is apply_effects_file:
        return None
    effects.apply_effects_file = apply_effects_file
    return "libsox is not there: sox effects are applied by our own code or the sox program"


_USE_SOX = {"speech_commands", "sv_voxceleb1", "quesst14_dtw", "quesst14_embedding", "sws2013"}


def redirect_speaker_cache(args: Namespace, config: Config) -> str | None:
    """Keep SID's list of files in the experiment, apart for every corpus.

    S3PRL keeps it inside its installed package under the split's name alone: the next corpus
    silently gets the first one's files.
    """
    if args.downstream != "voxceleb1":
        return None
    dataset: Any = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
    dataset.CACHE_PATH = str(cache_folder(config, args.expdir))
    return "SID's list of files lies in the experiment folder, not inside S3PRL"


def provide_sox_package(args: Namespace, config: Config) -> str | None:
    """Stand in for the package ``sox``, of which ASV imports a class that it never uses."""
    if args.downstream != "sv_voxceleb1" or "sox" in sys.modules or _has("sox"):
        return None
    stand_in = ModuleType("sox")
    stand_in.Transformer = type("Transformer", (), {})  # type: ignore[attr-defined]
    sys.modules["sox"] = stand_in
    return "the package sox, which ASV imports without using it, is an empty one"


def measure_speaker_files(args: Namespace, config: Config) -> str | None:
    """Measure ASV's training utterances by threads, into a table in the experiment."""
    if args.downstream != "sv_voxceleb1":
        return None
    dataset: Any = importlib.import_module("s3prl.downstream.sv_voxceleb1.dataset")
    folder = cache_folder(config, args.expdir)

    def measure(path: str) -> int:
        wave, _ = dataset.apply_effects_file(path, dataset.EFFECTS)
        return int(wave.shape[-1])

    root = Path(str(config["downstream_expert"]["datarc"]["file_path"])) / "dev" / "wav"
    provide_lengths(root, folder, measure, threads=os.cpu_count() or 1)
    dataset.__file__ = str(folder / "dataset.py")  # S3PRL's table lies beside its module
    return "ASV's table of lengths lies in the experiment folder, not inside S3PRL"


def reach_an_evaluation(args: Namespace, config: Config) -> str | None:
    """Evaluate and save at the last step of a run that is shorter than S3PRL's intervals."""
    runner = config.get("runner", {})
    total = runner.get("total_steps")
    late = [
        name
        for name in ("eval_step", "save_step")
        if total is not None and runner.get(name, 0) > total
    ]
    for name in late:
        runner[name] = total
    return f"{' and '.join(late)} -> {total}, the length of this run" if late else None


def save_whole_checkpoints(args: Namespace, config: Config) -> str | None:
    """Write each checkpoint beside its place, and remove an old one when the new one is there.

    S3PRL removes the old one first and writes in place: a kill meanwhile takes both.
    """
    if args.mode != "train":
        return None
    WholeSaves().put_into(importlib.import_module("s3prl.downstream.runner"))
    return "a kill while S3PRL saves leaves the checkpoint before"


def use_given_checkpoint(args: Namespace, config: Config, ckpt: str | None) -> str | None:
    """Let ``-k`` win over the path stored in a checkpoint of a run on another machine."""
    stored = args.upstream_ckpt
    if ckpt is None or stored == ckpt:
        return None
    args.upstream_ckpt = ckpt
    return f"-k {ckpt} is used instead of the stored {stored}"


BEFORE_RUN: tuple[RunMend, ...] = (
    ignore_cuda,
    provide_ctc_corpora,
    keep_ctc_workers,
    limit_workers,
    replace_sox_effects,
    name_bad_audio,
    redirect_speaker_cache,
    provide_sox_package,
    measure_speaker_files,
    reach_an_evaluation,
    save_whole_checkpoints,
)
