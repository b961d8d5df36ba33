"""A mini recipe under test: smoke runs in a folder of their own, stopped in the middle or not."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MINI = Path(__file__).resolve().parents[2] / "egs" / "mini"
TEACHER = """
import sys, yaml
from espnet_kd.encoder import SpeechEncoder
from espnet_kd.tasks.students import student_config
conf = yaml.safe_load(open(sys.argv[1]))
SpeechEncoder.from_config(student_config(conf["student"], conf["student_conf"])
    ).save_pretrained(sys.argv[2])
"""


def random_teacher(python: Path, folder: Path) -> Path:
    """The mini teacher's shape with random weights."""
    subprocess.run(
        [python, "-c", TEACHER, MINI / "conf" / "train_teacher.yaml", folder], check=True
    )
    return folder


@dataclass(frozen=True)
class MiniRecipe:
    """``run.sh`` of a folder in egs/mini with its usual options."""

    name: str
    """The folder."""

    options: tuple[str, ...]
    """Beside those of every smoke run."""

    def command(self, work: Path, python: Path, *options: object) -> list[str]:
        """Words of a smoke run that writes to ``work``."""
        words = [MINI / self.name / "run.sh", "--smoke", "true", "--python", python, *self.options]
        words += ["--datadir", work / "data", "--expdir", work / "exp"]
        return [*map(str, words), *map(str, options)]

    def run(self, work: Path, python: Path, *options: object) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        words = self.command(work, python, *options)
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)

    def stop_at(self, log: Path, work: Path, python: Path, *options: object) -> str:
        """Run it until a command of it has begun to write ``log``; returns what it said."""
        words = self.command(work, python, *options)
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not (log.exists() and "# started" in log.read_text()):
            time.sleep(0.01)
        process.terminate()
        said = process.communicate()[1]
        assert process.returncode == 143, said[-4000:]
        return said
