"""The cache put into S3PRL's runner, for one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from espnet_kd.errors import ConfigError
from s3prl_upstreams.cache.crops import Places, stand_in, where_crops_are_drawn
from s3prl_upstreams.cache.exact import CachingUpstream, Selection
from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.keys import FORMAT, upstream_key
from s3prl_upstreams.cache.layers import sum_by_product
from s3prl_upstreams.cache.lookahead import LookAhead
from s3prl_upstreams.cache.options import SHUFFLED, CacheOptions
from s3prl_upstreams.cache.pooled import PooledUpstream, pooling_problems, take_single_frames
from s3prl_upstreams.cache.prefill import prefill
from s3prl_upstreams.cache.report import say
from s3prl_upstreams.cache.store import open_store

Getter = Callable[[Any], Any]


class RunCache:
    """The cache of one run of S3PRL's runner."""

    def __init__(self, options: CacheOptions, stack: ExitStack) -> None:
        self.options = options
        self.upstream: CachingUpstream | None = None
        self.features = "stock"
        """What a score file says about the features: ``stock``, ``pooled, comparable`` ..."""
        self._stack = stack
        self._places = Places(options.crops)

    def with_featurizer(self, get_featurizer: Getter) -> Getter:
        """Wrap ``Runner._get_featurizer``: it probes the upstream itself, the run gets ours."""

        def get(runner: Any) -> Any:
            entry = get_featurizer(runner)
            if self.options.on:
                args, linear = runner.args, not pooling_problems(runner.args, runner.config)
                self.options = self.options.for_task(args.downstream, linear)
                self._check(runner)
                self._put_in(runner, entry)
            self._note(runner.args)
            return entry

        return get

    def with_downstream(self, get_downstream: Getter) -> Getter:
        """Wrap ``Runner._get_downstream``: what is asked for before the first step."""

        def get(runner: Any) -> Any:
            self._fix_crops(runner.args.downstream)
            entry = get_downstream(runner)
            if self.upstream is not None and runner.args.mode == "train":
                self.upstream.comes_again = self._comes_again(runner.args.downstream, entry.model)
            if isinstance(self.upstream, PooledUpstream):
                entry.model.get_dataloader = self._ahead(runner, entry.model, self.upstream)
            if isinstance(self.upstream, IsolatedUpstream) and self.options.prefill:
                prefill(runner, entry.model.get_dataloader, self.upstream, self._places)
            return entry

        return get

    def _comes_again(self, task: str, head: Any) -> Callable[[int], bool]:
        """Tell what may be asked for again from what would only take up the place of that."""
        dataset = getattr(getattr(head, "module", head), "train_dataset", None)
        cut = getattr(dataset, "max_timestep", None) if self.options.crops == 0 else None
        shuffled = self.options.mode == "exact" and task in SHUFFLED
        # Means are small, and cuts come again when S3PRL seeds its random numbers anew.
        long = cut if self.options.mode == "isolated" else None
        return lambda samples: not (head.training and (shuffled or samples == long))

    def _ahead(self, runner: Any, model: Any, upstream: PooledUpstream) -> LookAhead:
        settings, head = runner.config["runner"], getattr(model, "module", model)
        batches = settings["total_steps"] * settings.get("gradient_accumulate_steps", 1)
        most = {settings.get("train_dataloader", "train"): batches}
        return LookAhead(head, model.get_dataloader, upstream, self._places, most)

    def _check(self, runner: Any) -> None:
        problems = []
        if runner.upstream.trainable:
            problems.append("-f trains the upstream: its features change with every step")
        if self.options.mode == "pooled":
            problems += pooling_problems(runner.args, runner.config)
        if problems:
            raise ConfigError(f"--feature_cache {self.options.mode}", problems)

    def _put_in(self, runner: Any, featurizer: Any) -> None:
        args, options = runner.args, self.options
        model = getattr(featurizer.model, "module", featurizer.model)
        selection = Selection(model.feature_selection, model.downsample_rate, model.layer_selection)
        more = (options.mode, options.dtype, selection.name, args.upstream)
        inner = runner.upstream.model.eval()
        about = {"format": FORMAT, "upstream": args.upstream, "checkpoint": args.upstream_ckpt}
        about |= {"mode": options.mode, "dtype": options.dtype, "feature": selection.name}
        store = open_store(options, args.expdir, upstream_key(inner, *more), about)
        self._stack.callback(store.close)
        if options.mode == "exact":
            self.upstream = CachingUpstream(inner, selection, store)
        else:
            kind = PooledUpstream if options.mode == "pooled" else IsolatedUpstream
            self.upstream = kind(inner, selection, store, args.device)
            self._say_deviation(self.upstream)
        runner.upstream.model = self.upstream.eval()
        if options.mode == "pooled":
            take_single_frames(featurizer.model)
        elif options.mode == "isolated":
            sum_by_product(featurizer.model)
        self.features = self._describe(args.downstream)

    def _describe(self, task: str) -> str:
        assert self.upstream is not None
        words = [self.upstream.describe()]
        if self.options.crops and where_crops_are_drawn(task):
            words.append(f"{self.options.crops} fixed crops")
        if self.options.dtype != "float32":
            words.append(self.options.dtype)
        return ", ".join(words)

    def _say_deviation(self, upstream: IsolatedUpstream) -> None:
        if upstream.harmless:
            say("padding does not change this model's features: equal to stock up to rounding")
        else:
            say(
                "this model's features depend on the padding of a batch (or it is none of ours): "
                "each utterance counts as if alone; results are comparable to stock, not identical"
            )
        if self.options.dtype != "float32":
            say("features are rounded to float16 (relative error 5e-4)")

    def _fix_crops(self, task: str) -> None:
        """Cut long recordings at fixed places; worker processes inherit it."""
        found = where_crops_are_drawn(task) if self.options.on else None
        if found is None or self.options.mode == "exact":
            return
        module, name = found
        self._stack.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, stand_in(name, self._places))
        if self.options.crops:
            say(
                f"long recordings are cut at {self.options.crops} fixed places instead of "
                "anywhere: a deviation from the task as published"
            )
        else:
            say("long recordings are cut anywhere: cuts are computed each time")

    def _note(self, args: Any) -> None:
        """Remember in S3PRL's checkpoints what the head was trained on; tell it of this one."""
        trained = getattr(args, "feature_cache", None)
        if args.mode == "train":
            args.feature_cache = _joined(trained, self.features, " then ")
            self.features = args.feature_cache
        elif trained not in (None, self.features):
            self.features = f"{trained} (training), {self.features} (evaluation)"


def _joined(before: str | None, now: str, between: str) -> str:
    return now if before is None or before.endswith(now) else f"{before}{between}{now}"


@contextmanager
def feature_cache(runner: type, options: CacheOptions) -> Iterator[RunCache]:
    """Let S3PRL's ``Runner`` use the cache inside the block, and say at the end what came of it."""
    with ExitStack() as stack:
        cache = RunCache(options, stack)
        for name, wrap in (
            ("_get_featurizer", cache.with_featurizer),
            ("_get_downstream", cache.with_downstream),
        ):
            stock = getattr(runner, name)
            stack.callback(setattr, runner, name, stock)
            setattr(runner, name, wrap(stock))
        try:
            yield cache
        finally:
            if cache.upstream is not None:
                say(cache.upstream.say())
