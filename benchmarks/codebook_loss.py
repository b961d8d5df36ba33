"""The loss that predicts codes, forward and backward: the published class and ours.

8 utterances of 400 student frames without padding; joint and independent, with and without
computing the forward pass again (``checkpoint``), 8 and 16 codebooks, widths 384 and 512. Same
weights; the losses are in the table.

``python benchmarks/codebook_loss.py --runs 3 --codebooks 16``
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import mvq
import torch
from place import Place

from espnet_kd.losses import JointCodebookLoss

CASE = "{mode}, checkpoint {again}, {channels} → {codebooks} codebooks"
GOAL = 1 / 1.5
BATCH, FRAMES = 8, 400
CHANNELS, CODEBOOKS = (384, 512), (8, 16)
RUNS = {"cpu": 3, "cuda": 10}
_MODES = {True: "joint", False: "independent"}
Shape = tuple[bool, bool, int, int]
"""Whether joint, whether computed again, width, codebooks."""


def step_of(name: str, package: Any, place: Place, shape: Shape) -> Callable[[], float]:
    """A function that makes all gradients once and returns the loss."""
    joint, again, channels, codebooks = shape
    torch.manual_seed(0)
    options = {"is_joint": joint, "checkpoint": again}
    # Published weights hold everything in either mode; ours leaves out what it does not use.
    theirs = package.JointCodebookLoss(channels, codebooks, **options)
    criterion: Any = theirs
    if name == mvq.OURS:
        criterion = JointCodebookLoss(channels, codebooks, **options)
        criterion.load_state_dict(theirs.state_dict())
    criterion = place.put(criterion)
    torch.manual_seed(1)  # ours has drawn numbers for weights of its own
    x_BTC = place.put(torch.randn(BATCH, FRAMES, channels)).requires_grad_()
    codes_BTM = place.put(torch.randint(mvq.CODEBOOK_SIZE, (BATCH, FRAMES, codebooks)))

    def step() -> float:
        for leaf in (x_BTC, *criterion.parameters()):
            leaf.grad = None
        with place.autocast():
            found = criterion(x_BTC, codes_BTM)
        loss = found["loss"] if isinstance(found, dict) else found
        loss.backward()
        return float(loss.detach())

    return step


def rows_of(shape: Shape, package: Any, place: Place, runs: int) -> list[dict[str, Any]]:
    """Both sides in one configuration."""
    joint, again, channels, codebooks = shape
    case = CASE.format(
        mode=_MODES[joint], again="on" if again else "off", channels=channels, codebooks=codebooks
    )
    steps = {name: step_of(name, package, place, shape) for name in (mvq.ANCHOR, mvq.OURS)}
    losses = {name: step() for name, step in steps.items()}
    peaks = {name: _peak(name, shape, place, step) for name, step in steps.items()}
    clocks = place.measure(steps, runs, warm_up=0)
    rows = [
        {
            **common.row(case, name, clocks[name], clocks[mvq.ANCHOR], peaks[name]),
            "loss": loss,
            "shown": f"{loss:.2f}",
        }
        for name, loss in losses.items()
    ]
    common.tell(rows)
    return rows


def _peak(name: str, shape: Shape, place: Place, step: Callable[[], float]) -> float:
    if place.is_cuda:
        return common.taken_by(place, step)
    return common.memory_in_fresh_process(name, __file__, "--shape", *(str(int(v)) for v in shape))


def main() -> None:
    """All configurations; every one has the goal."""
    options = common.parser(__doc__)
    options.add_argument("--channels", type=int, nargs="+", default=CHANNELS)
    options.add_argument("--codebooks", type=int, nargs="+", default=CODEBOOKS)
    options.add_argument("--shape", type=int, nargs=4, help="only with --memory_of")
    args = options.parse_args()
    package, place = mvq.published(), Place.of(args)
    if args.memory_of:
        joint, again, channels, codebooks = args.shape
        step_of(args.memory_of, package, place, (bool(joint), bool(again), channels, codebooks))()
        common.print_peak()
        return
    shapes = itertools.product((False, True), (True, False), args.channels, args.codebooks)
    find = partial(rows_of, package=package, place=place, runs=common.runs_of(args, RUNS))
    rows = [row for shape in shapes for row in find(shape)]
    goals = {row["case"]: GOAL for row in rows}
    common.show(rows, goals, place, args.json, judged=mvq.OURS, columns={"loss": "shown"})


if __name__ == "__main__":
    main()
