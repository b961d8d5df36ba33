"""Filter folders of labels: read, check, score, decide, write two folders and every decision."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_kd.data.audio import AudioPolicy
from espnet_kd.data.kaldi_dir import KaldiDir
from espnet_kd.data.label_folder import join_folders, read_label_folder, write_label_folder
from espnet_kd.data.pseudo_labels import PseudoLabel
from espnet_kd.data.recordings import Recordings
from espnet_kd.errors import ConfigError, KDError
from espnet_kd.filtering.checks import Checks
from espnet_kd.filtering.decide import Combine, Decision, Limit, decide, make_cut
from espnet_kd.filtering.measure import Item, Measure, MeasureOptions
from espnet_kd.filtering.registry import build_measure
from espnet_kd.filtering.scoring import score_all
from espnet_kd.filtering.summary import summarise
from espnet_kd.filtering.true_wer import TrueWER
from espnet_kd.utils.files import write_json, write_text
from espnet_kd.whisper.wer_filter import Score

DECISIONS, SUMMARY, SCORES = "decisions.jsonl", "summary.json", "scores"
KEPT, DROPPED = "kept", "dropped"


@dataclass(frozen=True)
class FilterPlan:
    """Everything that a filter run is told."""

    limits: tuple[Limit, ...] = ()
    """What labels must meet; none: only the checks drop labels."""

    measures: tuple[str, ...] = ()
    """Further measures to compute, without a limit."""

    combine: Combine = "all"
    """Whether all limits must be met, or any."""

    checks: Checks = field(default_factory=Checks)
    """What is dropped whatever its scores are."""

    options: MeasureOptions = field(default_factory=MeasureOptions)
    """Of the measures."""

    policy: AudioPolicy = field(default_factory=AudioPolicy)
    """What an acceptable recording is."""


@dataclass
class Scored:
    """Labels and scores, before any decision."""

    items: list[Item]
    """All labels, folder by folder."""

    data: KaldiDir | None
    """Tables of all folders; None without audio."""

    measures: dict[str, Measure]
    """By name, in the order asked for."""

    scores: dict[str, dict[str, Score]]
    """Measure to utterance to score."""


def score_folders(folders: Sequence[Path], out: Path, plan: FilterPlan) -> Scored:
    """Read labels and compute every measure of the plan; goes on where it stopped.

    Raises:
        ConfigError: all measures that lack an option are listed.
        DataDirError: a folder has problems, or two hold the same utterance.
    """
    measures = _make(plan, out / SCORES)
    joined = join_folders(list(map(read_label_folder, folders)), list(map(str, folders)))
    recordings = None if joined.data is None else Recordings(joined.data, plan.policy)
    items = [Item(label, recordings) for label in joined.labels]
    scores = {
        name: score_all(measure, items, out / SCORES, plan.options.batch_size)
        for name, measure in measures.items()
    }
    return Scored(items, joined.data, measures, scores)


def true_wer(scored: Scored, out: Path, plan: FilterPlan) -> dict[str, Score]:
    """WER of every label that has a reference, rule ``fixed``: what other measures must find."""
    measure = TrueWER.truth(plan.options)
    return score_all(measure, scored.items, out / SCORES / "truth", plan.options.batch_size)


def apply_limits(scored: Scored, plan: FilterPlan) -> tuple[list[Decision], dict[str, Any]]:
    """Decide on every label.

    Returns:
        Decisions in the order of the labels, and the summary.
    """
    problems = {item.label.id: plan.checks.problem(item.label) for item in scored.items}
    cuts = [
        make_cut(
            limit,
            scored.measures[limit.measure].higher_is_better,
            [s for key, s in scored.scores[limit.measure].items() if not problems[key]],
        )
        for limit in plan.limits
    ]
    labels = [item.label for item in scored.items]
    decisions = [
        decide(
            label.id,
            problems[label.id],
            cuts,
            {name: found[label.id] for name, found in scored.scores.items()},
            plan.combine,
        )
        for label in labels
    ]
    return decisions, summarise(labels, decisions, cuts, scored.scores)


def write_decisions(
    out: Path, scored: Scored, decisions: Sequence[Decision], summary: Mapping[str, Any]
) -> None:
    """Write ``kept/``, ``dropped/``, decisions.jsonl and summary.json.

    Raises:
        KDError: nothing is kept (decisions and summary are written all the same).
    """
    write_text(out / DECISIONS, "".join(map(_line, decisions)))
    write_json(out / SUMMARY, summary)
    labels = [item.label for item in scored.items]
    kept = [decision.kept for decision in decisions]
    write_label_folder(out / DROPPED, select(labels, [not k for k in kept]), scored.data)
    if not any(kept):
        raise KDError(
            f"no label is kept; {out / DECISIONS} says why. Loosen the limits ({out / KEPT} is not "
            "written)"
        )
    write_label_folder(out / KEPT, select(labels, kept), scored.data)


def select(labels: Sequence[PseudoLabel], kept: Sequence[bool]) -> list[PseudoLabel]:
    """The labels to keep; one is prompted by its predecessor only if that is kept as well."""
    chosen = []
    for index, label in enumerate(labels):
        if not kept[index]:
            continue
        if label.condition_on_prev and (index == 0 or not kept[index - 1]):
            label = dataclasses.replace(label, condition_on_prev=0, prompt_ids=None)
        chosen.append(label)
    return chosen


def _make(plan: FilterPlan, cache: Path) -> dict[str, Measure]:
    options = dataclasses.replace(plan.options, cache=cache)
    names = dict.fromkeys([*(limit.measure for limit in plan.limits), *plan.measures])
    repeated = len(plan.limits) - len({limit.measure for limit in plan.limits})
    # Here, not when the limits are applied: scores may take hours.
    problems = [*plan.checks.validate(), *(p for limit in plan.limits for p in limit.validate())]
    problems += ["one measure has two limits"] if repeated else []
    measures = {}
    for name in names:
        built, more = _build(name, options)
        problems += more
        if built is not None:
            measures[name] = built
    if problems:
        raise ConfigError("filter", problems)
    return measures


def _build(name: str, options: MeasureOptions) -> tuple[Measure | None, list[str]]:
    """A measure, or what is missing for it."""
    try:
        return build_measure(name, options), []
    except ConfigError as error:
        return None, [f"{str(error).partition(':')[0]}: {problem}" for problem in error.problems]


def _line(decision: Decision) -> str:
    record = {
        "id": decision.id,
        "kept": decision.kept,
        "reason": decision.reason,
        "scores": decision.scores,
        **({"notes": decision.notes} if decision.notes else {}),
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
