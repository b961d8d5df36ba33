"""Codes of vectors: the published quantiser and ours, with the same weights and the same codes.

The quantiser is trained for some seconds, since codes of a random one hardly settle. Both encode
the same vectors with 0, 1 and 5 passes of refinement; the table says how many got other codes.

``python benchmarks/quantizer_encoding.py --runs 3 --sizes 256x8 256x16``
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import common
import mvq
import torch
from place import Place
from torch import Tensor

from espnet_kd.quantizer import Quantizer
from espnet_kd.quantizer.kmeans import KMeansOptions, fit_quantizer

CASE = "{size}, {passes} passes"
GOAL = 0.1
PASSES = (0, 1, 5)
FRAMES = {"cpu": 256, "cuda": 4096}
TRAINING_VECTORS = 4096
BRIEF = KMeansOptions(lloyd_rounds=2, alternations=1, logit_steps=30)
RUNS = {"cpu": 3, "cuda": 10}


def work_of(quantizer: Any, x_BD: Tensor, passes: int) -> Callable[[], Tensor]:
    """Encoding as a function without arguments."""
    encode = torch.no_grad()(quantizer.encode)
    return partial(encode, x_BD, passes, as_bytes=False)


def rows_of(size: str, package: Any, place: Place, runs: int, frames: int) -> list[dict[str, Any]]:
    """All numbers of passes with a quantiser of one size."""
    config = mvq.config_of(size)
    trained = fit_quantizer(mvq.vectors(TRAINING_VECTORS, config.dim, 1), config, BRIEF)
    quantizers = mvq.both(package, trained.state_dict(), config)
    quantizers = {name: place.put(quantizer) for name, quantizer in quantizers.items()}
    x_BD = place.put(mvq.vectors(frames, config.dim, 2))
    rows = []
    for passes in PASSES:
        works = {name: work_of(each, x_BD, passes) for name, each in quantizers.items()}
        codes = {name: work() for name, work in works.items()}
        other = int((codes[mvq.ANCHOR] != codes[mvq.OURS]).any(dim=1).sum())
        clocks = place.measure(works, runs, warm_up=0)
        for name, clocked in clocks.items():
            peak = float("nan")  # a process for each would cost more than all else here
            if passes == max(PASSES):
                peak = _peak(name, size, frames, place, works[name])
            case = CASE.format(size=size, passes=passes)
            one = common.row(case, name, clocked, clocks[mvq.ANCHOR], peak)
            rows.append({**one, "frames_per_second": frames / clocked.median, "other_codes": other})
        common.tell(rows[-2:])
    return rows


def _peak(name: str, size: str, frames: int, place: Place, work: Callable[[], Tensor]) -> float:
    if place.is_cuda:
        return common.taken_by(place, work)
    more = ("--sizes", size, "--frames", str(frames))
    return common.memory_in_fresh_process(name, __file__, *more)


def main() -> None:
    """Time both at all sizes."""
    options = mvq.parser(common.parser(__doc__), mvq.SIZES)
    options.add_argument("--frames", type=int, help="vectors that are encoded")
    args = options.parse_args()
    package, place = mvq.published(), mvq.place_of(args)
    frames = args.frames or FRAMES[args.device]
    if args.memory_of:  # which does not depend on the weights
        config = mvq.config_of(args.sizes[0])
        state = Quantizer(config).state_dict()
        quantizer = mvq.both(package, state, config)[args.memory_of]
        work_of(quantizer, mvq.vectors(frames, config.dim, 2), max(PASSES))()
        common.print_peak()
        return
    runs = common.runs_of(args, RUNS)
    rows = [r for size in args.sizes for r in rows_of(size, package, place, runs, frames)]
    goals = {CASE.format(size=size, passes=5): GOAL for size in args.sizes}
    columns = {"frames per s": "frames_per_second", "vectors with other codes": "other_codes"}
    common.show(rows, goals, place, args.json, judged=mvq.OURS, columns=columns)


if __name__ == "__main__":
    main()
