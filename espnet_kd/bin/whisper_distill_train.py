"""Train a Whisper on pseudo-labels and its teacher, on transcripts, or on labels alone.

``python -m espnet_kd.bin.whisper_distill_train --config conf/distil_whisper/... --student DIR
--teacher DIR --train_dir DIR --valid_dir DIR --output_dir EXP``

EXP/students holds the best epochs as Hugging Face folders while the run goes on, EXP/student their
mean at its end, EXP/student_last the last epoch.

The task is imported at the top, so that spawned processes of multi-GPU training have it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.tasks.whisper_distill import WhisperDistillTask

report_to_parent(__name__)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run ESPnet's training with our task; returns the exit code."""
    return run_command(lambda: WhisperDistillTask.main(cmd=cmd), resumable=True)


if __name__ == "__main__":
    sys.exit(main())
