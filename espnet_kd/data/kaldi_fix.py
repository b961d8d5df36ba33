"""Make a repaired copy of a Kaldi data folder, with a report of every change."""

from __future__ import annotations

from pathlib import Path

from espnet_kd.data.kaldi_check import refuse_other_data
from espnet_kd.data.kaldi_dir import KaldiDir, write_kaldi_dir, write_report
from espnet_kd.data.tables import Table, read_table
from espnet_kd.errors import DataDirError

REPORT = "fix_report.txt"
"""Name of the report inside the repaired copy."""


def fix_kaldi_dir(source: str | Path, target: str | Path, *, need_text: bool = False) -> list[str]:
    """Write a usable copy of ``source`` to ``target``; the original is never touched.

    Line defects (order, duplicates, CRLF, BOM, NUL, bytes that are not UTF-8) are cleaned,
    utterances without recording or (if there is a ``text``) without transcript are dropped, an
    utterance without speaker becomes its own speaker, ``spk2utt`` is made anew.

    Returns:
        One line per change; also written to ``target/fix_report.txt``.

    Raises:
        DataDirError: nothing usable is left, or ``target`` is ``source`` or holds other data.
    """
    origin, copy = Path(source), Path(target)
    if origin.resolve() == copy.resolve():
        raise DataDirError(f"{origin}: the repaired copy needs a folder of its own")
    # Only an earlier copy of ours, known by its report, may be overwritten.
    refuse_other_data(copy, REPORT, "and is no repaired copy")
    if (origin / "segments").is_file():
        raise DataDirError(f"{origin}: folders with segments are checked, but not repaired")
    report: list[str] = []
    tables = {
        name: _clean(origin / name, report)
        for name in ("wav.scp", "utt2spk", "text", "utt2num_samples")
    }
    with_text = need_text or bool(tables["text"])
    if (origin / "text").is_file() and not with_text:
        report.append("text: has no usable line, left out")
    wavs = {key: path for key, path in tables["wav.scp"].items() if _usable(key, path, report)}
    if with_text:
        wavs = {key: path for key, path in wavs.items() if _has_text(key, tables["text"], report)}
    data = KaldiDir(wavs, {key: _speaker(key, tables["utt2spk"], report) for key in wavs})
    data.text = _only(wavs, tables["text"], "text", report) if with_text else {}
    data.num_samples = _counts(_only(wavs, tables["utt2num_samples"], "utt2num_samples", report))
    _only(wavs, tables["utt2spk"], "utt2spk", report)
    if not wavs:
        raise DataDirError(f"{origin}: nothing usable is left:\n  " + "\n  ".join(report))
    if data.num_samples and len(data.num_samples) < len(wavs):
        data.num_samples = {}
        report.append("utt2num_samples: incomplete, left out (prepare_data counts anew)")
    # First, so that a copy that was cut short is known as ours when it is made again.
    write_report(copy / REPORT, report)
    write_kaldi_dir(copy, data)
    return report


def _clean(path: Path, report: list[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    table: Table = read_table(path)
    report += [f"{problem} (cleaned)" for problem in table.problems]
    first = table.first()
    for row in table.rows:
        if row.value != first[row.key].value:
            kept = first[row.key]
            report.append(
                f"{path.name}:{row.line}: {row.key} contradicts line {kept.line}, which was kept"
            )
    return {key: row.value for key, row in first.items()}


def _usable(key: str, path: str, report: list[str]) -> bool:
    if path and not path.endswith("|") and Path(path).is_file():
        return True
    reason = "is a command" if path.endswith("|") else f"no such file {path!r}"
    report.append(f"wav.scp: {key} dropped: {reason}")
    return False


def _has_text(key: str, text: dict[str, str], report: list[str]) -> bool:
    if text.get(key):
        return True
    report.append(f"text: {key} dropped: {'empty' if key in text else 'no'} transcript")
    return False


def _speaker(key: str, utt2spk: dict[str, str], report: list[str]) -> str:
    if utt2spk.get(key):
        return utt2spk[key]
    report.append(f"utt2spk: {key} had no speaker, it became its own")
    return key


def _only(
    wavs: dict[str, str], values: dict[str, str], name: str, report: list[str]
) -> dict[str, str]:
    lost = sorted(values.keys() - wavs.keys())
    report += [f"{name}: {key} dropped: no usable recording" for key in lost]
    return {key: value for key, value in values.items() if key in wavs}


def _counts(values: dict[str, str]) -> dict[str, int]:
    usable = {key: value for key, value in values.items() if value.isascii() and value.isdigit()}
    return {key: int(value) for key, value in usable.items() if int(value) > 0}
