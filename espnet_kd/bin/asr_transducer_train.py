"""Train ESPnet's transducer without warp-transducer and k2.

``python -m espnet_kd.bin.asr_transducer_train`` takes the options of ESPnet's
``asr_transducer_train`` and ``--transducer_backend torch|k2|torchaudio``. Models decode with
ESPnet's own ``asr_transducer_inference``.

The task is imported at the top, so that spawned processes of multi-GPU training have it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.tasks.asr_transducer import KDTransducerTask

report_to_parent(__name__)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run ESPnet's training with our task; returns the exit code."""
    return run_command(lambda: KDTransducerTask.main(cmd=cmd), resumable=True)


if __name__ == "__main__":
    sys.exit(main())
