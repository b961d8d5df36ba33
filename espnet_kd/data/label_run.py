"""One process's share of a labelling run, and what is left to do after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from espnet_kd.data.label_plan import PlannedSegment, batches
from espnet_kd.data.label_shards import append, mend, read_rows, shard_path, shard_paths
from espnet_kd.data.labelling import Labeller
from espnet_kd.utils.ahead import computed_ahead

LABEL_SHARD, SKIP_SHARD = "labels", "skipped"


def finished_segments(folder: Path) -> set[str]:
    """Segments that an earlier run has labelled or dropped; torn last lines are cut off.

    Raises:
        DataDirError: a shard is damaged in its middle.
    """
    done: set[str] = set()
    for kind in (LABEL_SHARD, SKIP_SHARD):
        for path in shard_paths(folder, kind):
            mend(path)
            for _, row in read_rows(path):
                if kind == LABEL_SHARD:
                    done.add(row["label"]["id"])
                elif row.get("dropped"):
                    done.add(row["segment"])
    return done


def label_share(
    labeller: Labeller,
    planned: Iterable[PlannedSegment],
    done: set[str],
    *,
    rank: int = 0,
    processes: int = 1,
    report: Callable[[Iterable[PlannedSegment]], None] = lambda _: None,
) -> None:
    """Label every ``processes``-th batch from ``rank`` on; each batch is stored as a whole.

    Args:
        labeller: does the work.
        planned: all segments, in batches.
        done: what need not be done again.
        rank: number of this process.
        processes: how many there are.
        report: is called with the segments of each batch that is finished.
    """
    folder = labeller.folder

    def unfinished() -> Iterator[list[PlannedSegment]]:
        for batch in batches(planned):
            if batch[0].batch % processes != rank:
                continue
            if all(item.id in done for item in batch):
                report(batch)
            else:
                yield batch

    for batch, heard in computed_ahead(labeller.hear, unfinished()):
        result = labeller.label(heard, done)
        append(shard_path(folder, SKIP_SHARD, rank), _new(result.skipped, done))
        append(shard_path(folder, LABEL_SHARD, rank), result.rows)
        report(batch)


def _new(skipped: list[dict[str, Any]], done: set[str]) -> list[dict[str, Any]]:
    return [row for row in skipped if row.get("segment") not in done]
