"""Which query truly occurs in which document: QUESST's ground truth, or a plain table.

A ground-truth folder of QUESST 2014 (``scoring/groundtruth_quesst14_dev`` in its archive) holds
three files: ``*.tlist.xml`` lists the queries, ``*.ecf.xml`` the documents, and ``*.rttm`` has a
line ``LEXEME document channel start duration query ...`` for every occurrence. All types of match
(T1 exact, T2 inflected, T3 reordered) are in it; folders ``..._T1`` to ``..._T3`` hold one each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_kd.errors import DataDirError
from s3prl_upstreams.scoring.stdlist import Detections, document_name
from s3prl_upstreams.scoring.xml_elements import ElementError, attribute, visit_elements

_LEXEME_FIELDS = 6
_SHOWN = 5


@dataclass(frozen=True)
class Occurrences:
    """The truth about every trial."""

    queries: tuple[str, ...]
    """Names of all queries, also of those that occur nowhere."""
    documents: tuple[str, ...]
    """Names of all documents, without folder and suffix."""
    pairs: frozenset[tuple[str, str]]
    """(query, document) for every true trial."""

    def restricted(self, detections: Detections) -> Occurrences:
        """Keep only the queries and documents that were searched (e.g. the English ones)."""
        queries, documents = set(detections.queries), set(detections.documents)
        return Occurrences(
            tuple(name for name in self.queries if name in queries),
            tuple(name for name in self.documents if name in documents),
            frozenset((q, d) for q, d in self.pairs if q in queries and d in documents),
        )


def read_ground_truth(folder: str | Path) -> Occurrences:
    """Read a ground-truth folder of QUESST.

    Raises:
        DataDirError: not exactly one file of each kind, one that cannot be read (with its line),
            or an occurrence in a document that the folder does not list.
    """
    terms = _read_terms(_only(folder, "*.tlist.xml"))
    documents = _read_documents(_only(folder, "*.ecf.xml"))
    queries = tuple(dict.fromkeys(query for ids in terms.values() for query in ids))
    pairs = _read_lexemes(_only(folder, "*.rttm"), terms, frozenset(documents))
    return Occurrences(queries, documents, pairs)


def read_pairs(path: str | Path, detections: Detections) -> Occurrences:
    """Read a table ``query<TAB>document`` of true trials; the list of scores names all others.

    Raises:
        DataDirError: a line is no pair or was there before, or names a query or document without
            scores (all of them at once).
    """
    pairs: dict[tuple[str, str], int] = {}
    for number, line in enumerate(_lines(Path(path)), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if not line.strip():
            continue
        if len(fields) != 2 or not all(fields):
            raise DataDirError(f"{path}:{number}: expected query<TAB>document")
        pair = (fields[0], document_name(fields[1]))
        if pair in pairs:
            raise DataDirError(f"{path}:{number}: the same pair as in line {pairs[pair]}")
        pairs[pair] = number
    problems = [
        *_unknown(path, "query", pairs, 0, detections.queries),
        *_unknown(path, "document", pairs, 1, detections.documents),
    ]
    if problems:
        raise DataDirError("; ".join(problems) + ": search for them too, or remove the lines")
    return Occurrences(detections.queries, detections.documents, frozenset(pairs))


def _unknown(
    path: str | Path,
    what: str,
    pairs: Mapping[tuple[str, str], int],
    side: int,
    known: Iterable[str],
) -> list[str]:
    places: dict[str, int] = {}
    for pair, number in pairs.items():
        places.setdefault(pair[side], number)
    lacking = sorted(set(places) - set(known), key=places.__getitem__)
    if not lacking:
        return []
    some = ", ".join(f"{name} (line {places[name]})" for name in lacking[:_SHOWN])
    return [f"{path}: {len(lacking)} {what} name(s) without scores: {some}"]


def _only(folder: str | Path, pattern: str) -> Path:
    found = sorted(Path(folder).glob(pattern))
    if len(found) != 1:
        raise DataDirError(
            f"{folder} holds {len(found)} files {pattern} instead of one; a ground-truth folder "
            "of QUESST has *.rttm, *.ecf.xml and *.tlist.xml"
        )
    return found[0]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirError(f"cannot read {path}: {error}") from error


def _read_terms(path: Path) -> dict[str, list[str]]:
    """What an RTTM line may call a query -> the ids of queries that are called so."""
    terms: dict[str, list[str]] = {}
    ids: dict[str, int] = {}

    def start(name: str, attributes: Mapping[str, str], line: int) -> None:
        if name == "term":
            query = attribute(attributes, "termid")
            if query in ids:
                raise ElementError(f"query {query} as in line {ids[query]}")
            ids[query] = line
            terms.setdefault(query, []).append(query)

    def text(name: str, words: str, _: int) -> None:
        query = next(reversed(ids), "")
        if name == "termtext" and query and query not in terms.setdefault(words, []):
            terms[words].append(query)

    visit_elements(path, start, text)
    if not ids:
        raise DataDirError(f"{path} lists no queries (term elements)")
    return terms


def _read_documents(path: Path) -> tuple[str, ...]:
    documents: dict[str, None] = {}

    def start(name: str, attributes: Mapping[str, str], _: int) -> None:
        if name == "excerpt":
            documents[document_name(attribute(attributes, "audio_filename"))] = None

    visit_elements(path, start)
    if not documents:
        raise DataDirError(f"{path} lists no documents (excerpt elements)")
    return tuple(documents)


def _read_lexemes(
    path: Path, terms: Mapping[str, list[str]], documents: frozenset[str]
) -> frozenset[tuple[str, str]]:
    pairs = set()
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if not fields or fields[0] != "LEXEME":
            continue
        if len(fields) < _LEXEME_FIELDS:
            raise DataDirError(
                f"{path}:{number}: {len(fields)} fields instead of at least {_LEXEME_FIELDS}: "
                "LEXEME document channel start duration query"
            )
        document = document_name(fields[1])
        found = [(query, document) for query in terms.get(fields[5], ())]
        if found and document not in documents:
            raise DataDirError(f"{path}:{number}: document {document} is not in the *.ecf.xml")
        pairs.update(found)
    return frozenset(pairs)
