"""Peak memory of a forward pass.

CPU: the peak resident set of a fresh process that imports torch, builds or loads the model and
runs it once; the peak before the pass (interpreter, libraries, weights) is stated next to it.
GPU: ``torch.cuda.max_memory_allocated`` around one pass.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from espnet_kd.errors import KDError
from espnet_kd.evaluation.timing import noise, use_threads

MIB = 2**20


def peak_rss_mib() -> float:
    """Peak resident set of this process so far, in MiB."""
    # Linux: ru_maxrss of a forked child starts at its parent's peak, VmHWM at the exec.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (MIB if sys.platform == "darwin" else 1024)


def run_fresh(module: str, *arguments: str) -> dict[str, float]:
    """Run ``python -m module arguments`` in a fresh process and read the JSON it prints last.

    Raises:
        KDError: the process failed; the end of its error output is shown.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KDError(f"measuring memory failed: {' '.join(command)}\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_memory(
    model: str, *, seconds: float, batch: int = 1, threads: int = 1
) -> dict[str, float]:
    """Peak CPU memory of one forward pass in a fresh process.

    Args:
        model: a directory or file that ``load_model`` reads, or an architecture's name.
        seconds: length of each utterance.
        batch: utterances in the batch.
        threads: torch's intra-op threads.

    Returns:
        ``{"peak_mib", "before_mib"}``: after the pass, and before it with the model loaded.
    """
    arguments = (model, str(seconds), str(batch), str(threads))
    return run_fresh("espnet_kd.evaluation.memory", *arguments)


def peak_memory_cuda(model: nn.Module, *, seconds: float, batch: int = 1) -> dict[str, float]:
    """Peak GPU memory of one forward pass (``peak_mib``) and before it (``before_mib``)."""
    model = model.to("cuda").eval()
    x_BS = noise(batch, seconds).to("cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        model(x_BS)
    return {"peak_mib": torch.cuda.max_memory_allocated() / MIB, "before_mib": before / MIB}


def _main(model: str, seconds: str, batch: str, threads: str) -> None:
    from espnet_kd.evaluation.models import find_model

    with use_threads(int(threads)), torch.inference_mode():
        encoder = find_model(model).eval()
        x_BS = noise(int(batch), float(seconds))
        before = peak_rss_mib()
        encoder(x_BS)
    print(json.dumps({"peak_mib": peak_rss_mib(), "before_mib": before}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
