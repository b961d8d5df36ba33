"""Distil a speech encoder: ``python -m espnet_kd.bin.ssl_distill_train --config conf/... ...``.

The task is imported at the top, so that spawned processes of multi-GPU training have it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espnet_kd.bin.run import run_command
from espnet_kd.bin.spawned import report_to_parent
from espnet_kd.tasks.ssl_distill import SSLDistillTask

report_to_parent(__name__)


def main(cmd: Sequence[str] | None = None) -> int:
    """Run ESPnet's training with our task; returns the exit code."""
    return run_command(lambda: SSLDistillTask.main(cmd=cmd), resumable=True)


if __name__ == "__main__":
    sys.exit(main())
