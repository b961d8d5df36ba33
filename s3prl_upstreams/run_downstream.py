"""S3PRL's ``run_downstream`` with our upstreams, our SUPERB files, and its breakages mended.

    python -m s3prl_upstreams.run_downstream -u armhubert -k DIR -d asr --data LIBRI -p EXP

takes S3PRL's own options. Without ``-m`` it trains, evaluates the best checkpoint on the test
split and prints the score; with ``-m`` it does what S3PRL does with it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from espnet_kd.bin.spawned import plain_message
from espnet_kd.errors import ConfigError, KDError
from s3prl_upstreams import hub, mends
from s3prl_upstreams.cache.attach import feature_cache
from s3prl_upstreams.configs import default_config
from s3prl_upstreams.corpora import fill_config
from s3prl_upstreams.damaged import choose_states
from s3prl_upstreams.describe_upstream import check_upstream
from s3prl_upstreams.flows import run_flow
from s3prl_upstreams.invocation import OWN_OPTIONS, Invocation
from s3prl_upstreams.loaders import refuse_empty_loaders
from s3prl_upstreams.moved import torch_that_loads_for
from s3prl_upstreams.preflight import option_problems
from s3prl_upstreams.quick_hub import provide_hub
from s3prl_upstreams.quick_lstm import train_quickly
from s3prl_upstreams.rescore import rescore
from s3prl_upstreams.same_weights import compare_weights
from s3prl_upstreams.scores import DEV_FILE, RunScore, ScoreBook, keep_best_dev, save_scores
from s3prl_upstreams.tasks import Task, task_of

Config = dict[str, Any]


def run(argv: Sequence[str]) -> list[RunScore]:
    """Run a command line in this process and return its scores.

    Args:
        argv: options, as after ``python -m s3prl_upstreams.run_downstream``.

    Raises:
        KDError: something the user can put right; whatever S3PRL raises passes through.
    """
    call = Invocation.parse(argv)
    _check(call)
    stock = _import_stock(call.quick_start)
    with tempfile.TemporaryDirectory() as folder:
        call = call.completed(config=_write_config(call, folder), device=_default_device())
        if call.mode is not None:
            return _run_mode(stock, call)
        return run_flow(call, partial(_run_mode, stock))


def _check(call: Invocation) -> None:
    problems = []
    if call.past_exp is None and call.upstream is None:
        problems.append("-u NAME is missing, such as -u armhubert -k DIR")
    if call.past_exp is None and call.downstream is None:
        problems.append("-d TASK is missing, such as -d asr")
    if call.mode is None and call.local_rank is not None:
        problems.append("several processes: give -m train, then -m evaluate in a single one")
    if call.rates and (call.mode is not None or call.task is None):
        problems.append("--lr_sweep is for a command without -m on one of SUPERB's tasks")
    if call.rates and call.past_exp is not None:
        problems.append("--lr_sweep trains anew with each rate; it does not go with -e")
    if call.variant is not None and (call.config is not None or call.past_exp is not None):
        problems.append("--superb_variant changes our default file; it does not go with -c or -e")
    problems += option_problems(call)
    if problems:
        raise ConfigError("run_downstream", problems)


def _import_stock(quick: bool) -> ModuleType:
    mends.report(mend() for mend in mends.BEFORE_IMPORT)
    provide_hub(quick)
    stock = importlib.import_module("s3prl.run_downstream")
    mends.report([mends.keep_isinstance(stock)])
    return stock


def _write_config(call: Invocation, folder: str) -> str | None:
    """Write our default for a new experiment; None = the user or a checkpoint has one."""
    if call.config is not None or call.resumes:
        return None
    assert call.downstream is not None
    name = call.task.name if call.task is not None else call.downstream
    config = default_config(name, call.variant)
    path = Path(folder) / f"{call.downstream}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return str(path)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _run_mode(stock: ModuleType, call: Invocation) -> list[RunScore]:
    """Run S3PRL's own ``main`` once."""
    choose_states(call)
    book = ScoreBook()
    settled: list[tuple[Namespace, Config, Task | None]] = []
    get_args = stock.get_downstream_args

    def settle() -> tuple[Namespace, Config, list[str]]:
        args, config, files = get_args()
        settled.append((args, config, settle_run(args, config, call)))
        _forget_dev(args)
        return args, config, files

    def scored(args: Namespace, task: Task | None) -> list[RunScore]:
        return [replace(score, features=cache.features) for score in book.scores(args, task)]

    def keep_dev() -> None:
        args, _, task = settled[0]
        if args.mode == "train" and (scores := scored(args, task)):
            keep_best_dev(scores, args.expdir, resumed=bool(args.past_exp))

    # Once more: whoever used torch's safe_globals context since took the permission away again.
    mends.report([mends.allow_namespace()])
    runner = importlib.import_module("s3prl.downstream.runner")
    get_downstream = refuse_empty_loaders(runner.Runner._get_downstream)
    get_downstream = train_quickly(get_downstream, call.quick_lstm)
    get_upstream = compare_weights(runner.Runner._get_upstream)
    with (
        _attribute(stock, "torch", torch_that_loads_for(call.folder)),
        _attribute(stock, "get_downstream_args", settle),
        _attribute(runner.Runner, "_get_upstream", get_upstream),
        _attribute(runner.Runner, "_get_downstream", get_downstream),
        feature_cache(runner.Runner, call.cache) as cache,
        _attribute(runner.Runner, "evaluate", _keeping_dev(runner.Runner.evaluate, keep_dev)),
        _attribute(hub, "OPTIONS", {} if call.dtype is None else {"dtype": call.dtype}),
        _attribute(runner, "SummaryWriter", book.writer(runner.SummaryWriter)),
        _attribute(sys, "argv", ["run_downstream.py", *call.argv()]),
    ):
        stock.main()
    args, config, task = settled[0]
    if task is not None and args.mode == "evaluate":
        rescore(task, args, config, book)
    return _report(scored(args, task), args)


def _forget_dev(args: Namespace) -> None:
    """A training from the first step on has nothing to do with an earlier one's best score."""
    if args.mode == "train" and not args.past_exp:
        (Path(args.expdir) / DEV_FILE).unlink(missing_ok=True)


def _keeping_dev(evaluate: Callable[..., Any], keep: Callable[[], None]) -> Callable[..., Any]:
    """Wrap ``Runner.evaluate``: a training that is killed later has kept the score all the same."""

    @wraps(evaluate)
    def evaluated(runner: Any, *args: Any, **kwargs: Any) -> Any:
        names = evaluate(runner, *args, **kwargs)
        keep()
        return names

    return evaluated


def settle_run(args: Namespace, config: Config, call: Invocation) -> Task | None:
    """Complete what S3PRL parsed: mends, data, vocabularies; changes both in place.

    Returns:
        The task of SUPERB that this is, if any.

    Raises:
        ConfigError: everything that is missing; CheckpointError: no such upstream.
    """
    check_upstream(args.upstream)
    if call.dtype is not None and args.upstream not in hub.names():
        problem = f"only our upstreams take it, and {args.upstream} is none of them"
        raise ConfigError("--upstream_dtype", [problem])
    if not args.past_exp:
        args.superb_variant = call.variant
    task = task_of(args.downstream, config)
    if call.split is None and task is not None:
        args.evaluate_split = task.test
    splits = [args.evaluate_split] if args.mode == "evaluate" else []
    mends.report([mends.use_given_checkpoint(args, config, call.ckpt)])
    home = call.home or args.expdir
    fill_config(config, args.downstream, call.data, home, splits)
    at_home = Namespace(**{**vars(args), "expdir": home})
    mends.report(mend(at_home, config) for mend in mends.BEFORE_RUN)
    return task


def _report(scores: list[RunScore], args: Namespace) -> list[RunScore]:
    for score in scores:
        print(f"[espnet_kd] {score.line()}")
    if scores and args.mode == "evaluate":
        print(f"[espnet_kd] written to {save_scores(scores, args.expdir)}")
    return scores


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute inside the block."""
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a problem that is on stderr, 130 = interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    if "-h" in words or "--help" in words:
        print(OWN_OPTIONS)
        stock = _import_stock(quick=False)
        with _attribute(sys, "argv", ["run_downstream.py", "--help"]):
            stock.get_downstream_args()
    try:
        run(words)
    except KDError as error:
        print(f"run_downstream: {plain_message(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run_downstream: interrupted; -a with the same -p resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
