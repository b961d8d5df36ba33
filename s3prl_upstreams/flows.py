"""What a command without ``-m`` does: train, choose, evaluate, in the way of its task.

Most tasks evaluate the checkpoint that was best on the development split. ASV has none and
evaluates every checkpoint; ER repeats all of it for five folds; QbE trains nothing and evaluates
every layer. With ``-a`` what has a score already is not done again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from espnet_kd.errors import CheckpointError, ConfigError, KDError
from s3prl_upstreams.configs import read_yaml
from s3prl_upstreams.describe_upstream import build_upstream, describe
from s3prl_upstreams.invocation import STATES, Invocation
from s3prl_upstreams.scores import DEV_FILE, SCORE_FILE, RunScore, save_scores
from s3prl_upstreams.tasks import TASKS

T = TypeVar("T")
Run = Callable[[Invocation], list[RunScore]]
"""Runs S3PRL once and returns its scores."""

FOLDS = tuple(f"fold{number}" for number in range(1, 6))
"""The folds of IEMOCAP: each leaves one session out."""

_FOLD_OPTION = "config.downstream_expert.datarc.test_fold"


def run_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Run a command without ``-m``.

    Args:
        call: the completed command.
        run: runs S3PRL once.

    Returns:
        The scores of the task, which are also in ``score.json`` of the experiment folder.
    """
    if call.home is None:
        call = replace(call, home=str(call.folder))
    flow = call.task.flow if call.task is not None else "best"
    if call.rates and flow != "layers":  # which trains nothing
        return sweep_flow(call, run)
    return FLOWS[flow](call, run)


def sweep_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Do everything once per learning rate, and take over what the best one on dev has written."""
    found, folders = [], []
    for rate in call.rates:
        inner = replace(call.within(f"lr_{rate}"), rates=())
        scores = _earlier(call, inner.folder)
        if scores is None:
            scores = run_flow(inner.with_override(f"config.optimizer.lr={float(rate)!r}"), run)
        found.append([_chosen_by(call, inner.folder, scores[0])])
        folders.append((inner.folder, scores))
    _, (folder, scores) = _best(found, folders)
    kept = shutil.ignore_patterns("*.ckpt", "feature_cache", "events.*", "lr_*")
    shutil.copytree(folder, call.folder, ignore=kept, dirs_exist_ok=True)
    print(f"[espnet_kd] the best of {len(folders)} learning rates on dev: {folder}")
    return _concluded(call, scores)


def _chosen_by(call: Invocation, folder: Path, test: RunScore) -> RunScore:
    """Return what a learning rate is compared by: the score on dev, the mean of it over folds.

    Raises:
        KDError: a training left none. (ASV has no dev split and is compared by its trials.)
    """
    if call.task is not None and call.task.flow == "checkpoints":
        return test
    parts = [folder / fold for fold in FOLDS if (folder / fold).is_dir()] or [folder]
    found = [_read_dev(part / DEV_FILE, folder) for part in parts]
    value = sum(float(record["value"]) for record in found) / len(found)
    return replace(test, value=value, direction=found[0].get("direction", test.direction))


def _read_dev(path: Path, folder: Path) -> dict[str, Any]:
    if not path.is_file():
        raise KDError(
            f"{path} is missing: that training has never evaluated the development split, by which "
            "the learning rate is chosen. Let config.runner.eval_dataloaders hold it and "
            f"config.runner.eval_step be at most total_steps, remove {folder}, and give the "
            "same command with -a"
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def best_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Train, then evaluate the checkpoint that was best on the development split."""
    run(replace(call, mode="train"))
    return run(call.evaluation(best_checkpoint(call)))


def checkpoints_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Train, then evaluate every kept checkpoint; the best one counts (ASV of SUPERB)."""
    run(replace(call, mode="train"))
    found = []
    for path in saved_states(call.folder):
        folder = call.folder / "checkpoints" / path.stem
        scores = _earlier(call, folder, path)
        if scores is None:
            evaluation = call.evaluation(path).with_override(_expdir_option(folder))
            scores = run(evaluation)
        found.append((scores, folder))
    if not found:
        raise _nothing_saved(call)
    scores, folder = _best([scores for scores, _ in found], [folder for _, folder in found])
    for file in folder.glob("*_predict.txt"):
        shutil.copyfile(file, call.folder / file.name)
    return _concluded(call, scores)


def folds_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Do everything once per fold and return the mean, unless one fold was chosen (ER)."""
    if _chosen_fold(call):
        return best_flow(call, run)
    found = []
    for fold in FOLDS:
        inner = call.within(fold)
        scores = _earlier(call, inner.folder)
        if scores is None:
            scores = best_flow(inner.with_override(f"{_FOLD_OPTION}='{fold}'"), run)
        found += scores
    value = sum(score.value for score in found) / len(found)
    mean = replace(found[0], value=value, split=f"{found[0].split}, {len(FOLDS)} folds")
    scores = [replace(mean, checkpoint="")]
    return _concluded(call, scores)


def layers_flow(call: Invocation, run: Run) -> list[RunScore]:
    """Evaluate each layer on the development queries, the best one on the others (QbE)."""
    chosen = int(call.layer) if call.layer is not None else _best_layer(call, run)
    test = replace(call, mode="evaluate", split="test", layer=str(chosen))
    scores = run(test.within("test"))
    scores = [replace(score, checkpoint=f"layer {chosen}") for score in scores]
    return _concluded(call, scores)


def _best_layer(call: Invocation, run: Run) -> int:
    found = []
    for layer in range(_layers(call)):
        inner = call.within(f"dev/layer_{layer}")
        scores = _earlier(call, inner.folder)
        if scores is None:
            scores = run(replace(inner, mode="evaluate", split="dev", layer=str(layer)))
        found.append(scores)
    return _best(found, list(range(len(found))))[1]


def _concluded(call: Invocation, scores: list[RunScore]) -> list[RunScore]:
    """Write and say the scores of several runs of S3PRL together."""
    path = save_scores(scores, str(call.folder))
    for score in scores:
        print(f"[espnet_kd] {score.line()}")
    print(f"[espnet_kd] written to {path}")
    return scores


def _layers(call: Invocation) -> int:
    upstream = build_upstream(str(call.upstream), call.ckpt, call.model_config)
    return int(describe(upstream)["layers"])


FLOWS: dict[str, Callable[[Invocation, Run], list[RunScore]]] = {
    "best": best_flow,
    "checkpoints": checkpoints_flow,
    "folds": folds_flow,
    "layers": layers_flow,
}


def best_checkpoint(call: Invocation) -> Path:
    """Return the checkpoint that was best on the development split, else the last one.

    Raises:
        CheckpointError: the run saved nothing.
    """
    tasks = TASKS if call.task is None else (call.task,)
    names = dict.fromkeys([task.best for task in tasks if task.best])
    # Since -e the training may have written to another folder, and found none that is better.
    folders = (call.folder, call.states)
    found = [path for folder in folders for name in names if (path := folder / name).is_file()]
    states = saved_states(call.folder)
    if not found and not states:
        raise _nothing_saved(call)
    return (found or states[-1:])[0]


def saved_states(folder: Path) -> list[Path]:
    """Return S3PRL's regular checkpoints, the earliest first."""
    return sorted(folder.glob(STATES), key=lambda path: int(path.stem.split("-")[-1]))


def _nothing_saved(call: Invocation) -> CheckpointError:
    return CheckpointError(f"{call.folder} holds no checkpoint; did training reach save_step?")


def _best(scores: list[list[RunScore]], things: list[T]) -> tuple[list[RunScore], T]:
    """Return the best scores by the first metric, the earliest among equals, and its thing."""
    sign = -1 if scores[0][0].direction == "lower" else 1
    return max(zip(scores, things, strict=True), key=lambda pair: sign * pair[0][0].value)


def _earlier(
    call: Invocation, folder: Path, made_from: Path | None = None
) -> list[RunScore] | None:
    """Return the scores that a stopped run left, if it is to go on and they are not out of date."""
    path = folder / SCORE_FILE
    if not call.goes_on or not path.is_file():
        return None
    saved = json.loads(path.read_text(encoding="utf-8"))
    records = [saved, *saved.pop("more", [])]
    names = {field.name for field in fields(RunScore)}
    scores = [RunScore(**{k: v for k, v in record.items() if k in names}) for record in records]
    same = all(_of_same_upstream(call, score) for score in scores)
    used = [Path(score.upstream_ckpt) for score in scores if score.upstream_ckpt]
    used += [made_from] if made_from is not None else []
    return scores if same and not _any_newer(used, path) else None


def _of_same_upstream(call: Invocation, score: RunScore) -> bool:
    """Whether a score is of the command's upstream, which -e without -u or -k leaves open."""
    pairs = ((call.upstream, score.upstream), (call.ckpt, score.upstream_ckpt))
    left = call.past_exp is not None
    return all((left and now is None) or (now or "") == before for now, before in pairs)


def _any_newer(places: list[Path], than: Path) -> bool:
    """Whether a file, or one directly in a folder, was written after another; a URL was not."""
    inside = [file for place in places if place.is_dir() for file in place.iterdir()]
    files = [path for path in (*places, *inside) if path.is_file()]
    written = than.stat().st_mtime
    return any(file.stat().st_mtime > written for file in files)


def _chosen_fold(call: Invocation) -> bool:
    """Whether a fold is named in the configuration, by ``-o`` or by ``-v``."""
    if "test_fold" in (call.override or "") or {"-v", "--downstream_variant"} & set(call.rest):
        return True
    if call.config is None:
        return True  # a checkpoint goes on, and it has its fold
    expert = read_yaml(Path(call.config)).get("downstream_expert") or {}
    return bool((expert.get("datarc") or {}).get("test_fold"))


def _expdir_option(folder: Path) -> str:
    """Return S3PRL's option for another experiment folder than the checkpoint's."""
    text = str(folder)
    if "=" in text or ",," in text or "'" in text:
        raise ConfigError("-p", [f"{text}: S3PRL's options cannot hold = ,, or ' in a path"])
    return f"args.expdir='{text}'"
