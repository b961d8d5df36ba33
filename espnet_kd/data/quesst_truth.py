"""QUESST's ground truth: which query occurs in which document, in NIST's file formats.

A folder holds ``NAME.tlist.xml`` (the queries), ``NAME.ecf.xml`` (the documents) and ``NAME.rttm``
with a line ``LEXEME document channel start duration query ...`` for every occurrence. Where in a
document a query is does not count in QUESST; it gets the whole document here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from espnet_kd.utils.files import write_text


def write_truth(
    folder: str | Path,
    name: str,
    found: Mapping[str, Sequence[str]],
    seconds: Mapping[str, float],
) -> None:
    """Write a ground truth folder; the occurrences come last.

    Args:
        folder: such as ``scoring/groundtruth_quesst14_dev``.
        name: of the files in it, such as ``quesst14_dev``.
        found: every query -> the documents that have it.
        seconds: every document -> its duration.
    """
    target = Path(folder)
    write_text(target / f"{name}.tlist.xml", _terms(name, found))
    write_text(target / f"{name}.ecf.xml", _excerpts(seconds))
    lines = [_lexeme(d, seconds[d], query) for query, docs in found.items() for d in docs]
    write_text(target / f"{name}.rttm", "".join(lines))


def _lexeme(document: str, seconds: float, query: str) -> str:
    return f"LEXEME {document} 1 0.000 {seconds:.3f} {query} lex <NA> <NA>\n"


def _terms(name: str, queries: Mapping[str, Sequence[str]]) -> str:
    ecf = quoteattr(f"{name}.ecf.xml")
    terms = "".join(
        f"  <term termid={quoteattr(query)}><termtext>{query}</termtext></term>\n"
        for query in queries
    )
    head = f'<termlist ecf_filename={ecf} language="english" encoding="UTF-8" version="1">'
    return f"{head}\n{terms}</termlist>\n"


def _excerpts(seconds: Mapping[str, float]) -> str:
    excerpts = "".join(
        f"  <excerpt audio_filename={quoteattr(document)} channel="
        f'"1" tbeg="0.000" dur="{duration:.3f}" source_type="splitcts"/>\n'
        for document, duration in seconds.items()
    )
    total = f"{sum(seconds.values()):.3f}"
    head = f'<ecf source_signal_duration="{total}" language="english" version="1">'
    return f"{head}\n{excerpts}</ecf>\n"
