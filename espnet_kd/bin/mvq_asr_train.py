"""Train ESPnet's recogniser with CTC and attention with a teacher's codes as second target.

``python -m espnet_kd.bin.mvq_asr_train`` takes the options of ESPnet's ``asr_train``,
``--kd_conf`` and a data stream ``codes`` (of ``bin.extract_codebook_indexes``). Models decode
with ESPnet's own ``asr_inference``, which needs nothing of ours.

The task is imported at the top, so that spawned processes of multi-GPU training have it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.tasks.mvq import MVQASRTask

report_to_parent(__name__)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run ESPnet's training with our task; returns the exit code."""
    return run_command(lambda: MVQASRTask.main(cmd=cmd), resumable=True)


if __name__ == "__main__":
    sys.exit(main())
