"""Make the tables of IEMOCAP that S3PRL's emotion task reads (its own maker is a loose script).

    python -m s3prl_upstreams.make_iemocap_meta IEMOCAP --out DIR

writes ``DIR/SessionN/{train,test}_meta_data.json``: the turns of session N are the test set of fold
N, those of the other sessions its training set. Kept are the labels neu, hap, ang, sad, and exc
which counts as hap; paths start at IEMOCAP; the order is that of sessions, files and lines.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_kd.errors import DataDirError, KDError
from espnet_kd.utils.files import atomic_folder, write_json

SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
"""Folders of the corpus, one per fold."""

LABELS = {"neu": 0, "hap": 1, "ang": 2, "sad": 3}
"""Label -> class of S3PRL's task."""

_COUNTS_AS = {"exc": "hap"}
_TURN = re.compile(r"^\[[^\]]*\]\t+(?P<name>\S+)\t+(?P<label>\S+)")

Turn = dict[str, str]
"""``path``, ``label`` and ``speaker`` of a recording."""


def make_iemocap_meta(root: str | Path, out: str | Path) -> list[Path]:
    """Write the ten tables; a folder that was not there appears complete or not at all.

    Args:
        root: folder that holds ``Session1`` to ``Session5``.
        out: folder for ``SessionN/{train,test}_meta_data.json``.

    Returns:
        The tables, training and test of each fold in turn.

    Raises:
        DataDirError: sessions, annotations or recordings are missing; names all sessions.
    """
    turns = read_sessions(root)
    target = Path(out)
    if target.exists():
        _write(turns, target)
    else:
        with atomic_folder(target, replaces=()) as folder:
            _write(turns, folder)
    return [target / s / f"{part}_meta_data.json" for s in SESSIONS for part in ("train", "test")]


def _write(turns: dict[str, list[Turn]], folder: Path) -> None:
    for session in SESSIONS:
        others = [turn for name in SESSIONS if name != session for turn in turns[name]]
        for part, meta in (("train", others), ("test", turns[session])):
            table: dict[str, Any] = {"labels": LABELS, "meta_data": meta}
            write_json(folder / session / f"{part}_meta_data.json", table)


def read_sessions(root: str | Path) -> dict[str, list[Turn]]:
    """Session -> the turns that the task uses.

    Raises:
        DataDirError: see :func:`make_iemocap_meta`.
    """
    base = Path(root)
    missing = [name for name in SESSIONS if not (base / name).is_dir()]
    if missing:
        raise DataDirError(
            f"{base} lacks {', '.join(missing)}; give the folder of IEMOCAP (IEMOCAP_full_release) "
            "that holds Session1 to Session5"
        )
    turns = {name: read_session(base, name) for name in SESSIONS}
    empty = [name for name, found in turns.items() if not found]
    if empty:
        raise DataDirError(
            f"{base}: no turn of a known emotion with its recording in {', '.join(empty)}; needed "
            "are dialog/EmoEvaluation/*.txt and sentences/wav/*/*.wav"
        )
    return turns


def read_session(root: Path, session: str) -> list[Turn]:
    """List the turns of one session, by annotation file and line; hidden files are passed over.

    Turns without a recording are left out, as S3PRL does.
    """
    waves = {path.stem: path for path in sorted((root / session / "sentences/wav").rglob("*.wav"))}
    turns: list[Turn] = []
    for file in sorted((root / session / "dialog/EmoEvaluation").glob("[!.]*.txt")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            match = _TURN.match(line)
            label = _COUNTS_AS.get(match["label"], match["label"]) if match else ""
            if match is not None and label in LABELS and match["name"] in waves:
                path = waves[match["name"]].relative_to(root).as_posix()
                speaker = match["name"].split("_")[0]
                turns.append({"path": path, "label": label, "speaker": speaker})
    return turns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a problem that is on stderr."""
    parser = argparse.ArgumentParser(prog="python -m s3prl_upstreams.make_iemocap_meta")
    parser.add_argument("root", help="folder that holds Session1 to Session5")
    parser.add_argument("--out", required=True, help="folder for the tables (datarc.meta_data)")
    options = parser.parse_args(argv)
    try:
        for path in make_iemocap_meta(options.root, options.out):
            print(path)
    except KDError as error:
        print(f"make_iemocap_meta: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
