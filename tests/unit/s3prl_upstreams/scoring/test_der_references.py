"""Beside NIST's md-eval 22 and pyannote.metrics, where they are at hand.

Debian's package ``sctk`` has ``md-eval.pl``; ``MD_EVAL`` may name another place of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from s3prl_upstreams.scoring.der import diarization_errors
from s3prl_upstreams.scoring.rttm import Turn, write_rttm

RECORDINGS = 40
TIMES = ("SCORED SPEAKER", "MISSED SPEAKER", "FALARM SPEAKER", "SPEAKER ERROR")


def merged(turns):
    """Overlapping turns of one speaker joined: neither tool wants them twice."""
    done = []
    for turn in sorted(turns, key=lambda turn: (turn.speaker, turn.start)):
        if done and done[-1].speaker == turn.speaker and turn.start <= done[-1].end:
            done[-1] = Turn(turn.speaker, done[-1].start, max(done[-1].end, turn.end))
        else:
            done.append(turn)
    return done


def random_turns(rng):
    count, speakers = int(rng.integers(4, 16)), int(rng.integers(1, 5))
    starts, lasting = rng.uniform(0, 20, count), rng.uniform(0.1, 4, count)
    names = rng.integers(0, speakers, count)
    turns = zip(names, starts.round(3).tolist(), lasting.round(3).tolist(), strict=True)
    return merged([Turn(f"s{n}", start, round(start + length, 3)) for n, start, length in turns])


@pytest.fixture(scope="module")
def conversations():
    rng = np.random.default_rng(17)
    names = [f"r{number}" for number in range(RECORDINGS)]
    reference, system = ({name: random_turns(rng) for name in names} for _ in range(2))
    # Some are nearly right, as real systems are.
    for name in names[::2]:
        moved = [
            (
                turn,
                *np.abs(np.array([turn.start, turn.end]) + rng.normal(0, 0.2, 2)).round(3).tolist(),
            )
            for turn in reference[name]
        ]
        kept = [Turn(f"x{t.speaker}", start, end) for t, start, end in moved if end > start]
        system[name] = merged(kept) or system[name]
    return reference, system


def values(errors):
    return errors.scored, errors.missed, errors.false_alarm, errors.confusion


@pytest.mark.parametrize(("collar", "overlaps"), [(0.0, True), (0.25, True), (0.0, False)])
def test_beside_md_eval(conversations, collar, overlaps, tmp_path):
    tool = Path(os.environ.get("MD_EVAL", "/usr/lib/sctk/bin/md-eval.pl"))
    if not tool.is_file() or shutil.which("perl") is None:
        pytest.skip("md-eval.pl is not at hand (Debian: apt-get install sctk)")
    reference, system = conversations
    regions = []
    for name, turns in reference.items():
        every = [*turns, *system[name]]
        start, end = min(t.start for t in every), max(t.end for t in every)
        regions.append(f"{name} 1 {start:.3f} {end:.3f}\n")
    (tmp_path / "uem").write_text("".join(regions))
    write_rttm(tmp_path / "ref", reference)
    write_rttm(tmp_path / "sys", system)
    command = ["perl", str(tool), "-af", "-c", str(collar), "-u", "uem", "-r", "ref", "-s", "sys"]
    command += [] if overlaps else ["-1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for name in [*reference, "ALL"]:
        block = done.stdout.partition(f"for f={name} ***" if name != "ALL" else "for ALL ***")[2]
        theirs = [float(re.search(rf"{what} TIME =\s*([\d.]+)", block)[1]) for what in TIMES]
        chosen = list(reference) if name == "ALL" else [name]
        ours = diarization_errors(
            {key: reference[key] for key in chosen},
            {key: system[key] for key in chosen},
            collar=collar,
            overlaps=overlaps,
        )
        # md-eval prints two decimals.
        assert theirs == pytest.approx(values(ours), abs=0.00501), name


def test_beside_pyannote(conversations):
    core = pytest.importorskip("pyannote.core", reason="pyannote.metrics is not installed")
    metrics = pytest.importorskip("pyannote.metrics.diarization")
    reference, system = conversations

    def annotation(turns):
        found = core.Annotation()
        for track, turn in enumerate(turns):
            found[core.Segment(turn.start, turn.end), track] = turn.speaker
        return found

    for name, turns in reference.items():
        ours = diarization_errors({name: turns}, {name: system[name]})
        every = [*turns, *system[name]]
        region = core.Segment(min(t.start for t in every), max(t.end for t in every))
        theirs = metrics.DiarizationErrorRate()(
            annotation(turns), annotation(system[name]), uem=core.Timeline([region]), detailed=True
        )
        parts = [theirs[key] for key in ("total", "missed detection", "false alarm", "confusion")]
        assert parts == pytest.approx(values(ours), abs=1e-6), name
        assert 100 * theirs["diarization error rate"] == pytest.approx(ours.rate, abs=1e-6)
