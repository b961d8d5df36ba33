"""The list of scores that a search for spoken queries returns (NIST STD 2006, ``*.stdlist.xml``).

S3PRL's QbE writes one ``benchmark.stdlist.xml`` per run: a ``detected_termlist`` for each query
with a ``term`` for each document, its score and a YES or NO (YES above two standard deviations).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.xml_elements import ElementError, attribute, visit_elements

STDLIST = "benchmark.stdlist.xml"
"""Name of S3PRL's file."""

_DECISIONS = {"YES": True, "NO": False}


@dataclass(frozen=True, eq=False)
class Detections:
    """Scores of trials: does this query occur in this document? Legend: N trials."""

    queries: tuple[str, ...]
    """Names, in the order of the file."""
    documents: tuple[str, ...]
    """Names without folder and suffix, in the order of the file."""
    query_N: NDArray[np.int64]
    """Index into ``queries``."""
    document_N: NDArray[np.int64]
    """Index into ``documents``."""
    score_N: NDArray[np.float64]
    """The higher, the likelier."""
    decision_N: NDArray[np.bool_]
    """True: the system says YES."""

    def __len__(self) -> int:
        return len(self.score_N)


def document_name(file: str) -> str:
    """Return the name by which a recording goes: without folder and without ``.wav``."""
    name = file.strip().rpartition("/")[2]
    return name[: -len(".wav")] if name.lower().endswith(".wav") else name


def read_stdlist(path: str | Path) -> Detections:
    """Read a list of scores.

    Raises:
        DataDirError: names the first line that is wrong (a score that is no number, a decision
            other than YES or NO, a missing attribute, a trial or query that was there before), or
            the list is empty.
    """
    reader = _Reader(path)
    visit_elements(path, reader.element)
    return reader.detections()


class _Reader:
    """Collects the trials of one file."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.queries: dict[str, int] = {}
        self.documents: dict[str, int] = {}
        self.seen: set[int] = set()
        """Documents of the current query."""
        self.query, self.document = array("q"), array("q")
        self.score, self.decision = array("d"), array("b")

    def element(self, name: str, attributes: Mapping[str, str], _: int) -> None:
        """Take in one element."""
        if name == "detected_termlist":
            query = attribute(attributes, "termid")
            if query in self.queries:
                raise ElementError(f"query {query} was there before")
            self.queries[query] = len(self.queries)
            self.seen.clear()
        elif name == "term":
            self._trial(attributes)

    def _trial(self, attributes: Mapping[str, str]) -> None:
        if not self.queries:
            raise ElementError("a term outside any detected_termlist")
        name = document_name(attribute(attributes, "file"))
        document = self.documents.setdefault(name, len(self.documents))
        if document in self.seen:
            raise ElementError(f"document {name} was there before for the same query")
        self.seen.add(document)
        self.query.append(len(self.queries) - 1)
        self.document.append(document)
        self.score.append(_number(attribute(attributes, "score")))
        self.decision.append(_decision(attribute(attributes, "decision")))

    def detections(self) -> Detections:
        """Return all trials."""
        if not self.score:
            raise DataDirError(f"{self.path} holds no scores; it should be a *.stdlist.xml")
        return Detections(
            tuple(self.queries),
            tuple(self.documents),
            np.array(self.query, dtype=np.int64),
            np.array(self.document, dtype=np.int64),
            np.array(self.score, dtype=np.float64),
            np.array(self.decision, dtype=np.bool_),
        )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ElementError(f"score {text!r} is no finite number")
    return value


def _decision(text: str) -> bool:
    if text.upper() not in _DECISIONS:
        raise ElementError(f"decision {text!r} is neither YES nor NO")
    return _DECISIONS[text.upper()]
