"""Training of a quantiser: the published trainer, ours with its schedule, and our own training.

Our own (residual k-means, least-squares centres, logit layer) comes first. The published trainer
then gets ``--budget`` times its CPU seconds: phases of as many updates as fit, with the schedule of
learning rates shortened likewise. Our form of it gets the same batches and as many updates. The
squared error of held-out vectors, relative to that of their mean, is in the table after 0, 2 and 5
passes of refinement. The first update of a trainer, which also logs, is not timed.

``python benchmarks/quantizer_training.py --sizes 256x8 256x16``
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import common
import mvq
import torch
from place import Place
from torch import Tensor

from espnet_kd.quantizer import Quantizer
from espnet_kd.quantizer.kmeans import KMeansOptions, fit_quantizer
from espnet_kd.quantizer.train import QuantizerTrainer, relative_errors

GOAL = 0.1
SIZES = ("256x8",)
SCHEDULE = "espnet_kd, published schedule"
BUDGET = 12.0
VECTORS, HELD_OUT, BATCH = 16384, 1024, 512
OPTIONS = KMeansOptions()
PASSES = (0, 2, 5)


class Contest:
    """One size: makes trainers, lets them run, and keeps what they have learnt."""

    def __init__(self, size: str, package: Any, place: Place, count: int) -> None:
        self.size, self.package, self.place = size, package, place
        self.config = mvq.config_of(size)
        self.x_TD = place.put(mvq.vectors(count, self.config.dim, 1))
        self.held_out_TD = place.put(mvq.vectors(HELD_OUT, self.config.dim, 2))
        self.learnt: dict[str, Quantizer] = {}

    def k_means(self) -> None:
        self.learnt[mvq.OURS] = fit_quantizer(self.x_TD, self.config, OPTIONS)

    def trainer(self, name: str, updates: int) -> Any:
        """A trainer with phases of so many updates, after its first one."""
        torch.manual_seed(0)
        random.seed(0)
        make = self.package.QuantizerTrainer if name == mvq.ANCHOR else QuantizerTrainer
        made = make(
            dim=self.config.dim, bytes_per_frame=self.config.num_codebooks,
            device=self.place.home, phase_one_iters=updates, phase_two_iters=updates,
        )  # fmt: skip
        made.step(self._batch(0))
        return made

    def run(self, name: str, trainer: Any, updates: int) -> None:
        """All other updates of both phases."""
        for update in range(1, 2 * updates + 1):
            trainer.step(self._batch(update))
        learnt = Quantizer(self.config)
        learnt.load_state_dict(trainer.quantizer.state_dict())
        self.learnt[name] = self.place.put(learnt.eval())

    def updates_within(self, seconds: float) -> int:
        """How many updates a phase of the published trainer may have, by four short phases."""
        trainer = self.trainer(mvq.ANCHOR, 2)
        begin = self._now()
        self.run(mvq.ANCHOR, trainer, 2)
        return max(4, int(2 * seconds / (self._now() - begin)))

    def errors(self, name: str) -> str:
        """Held out, by passes."""
        found = relative_errors(self.learnt[name], self.held_out_TD, PASSES)
        return " / ".join(f"{error:.3f}" for error in found.values())

    def _now(self) -> float:
        if not self.place.is_cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def _batch(self, update: int) -> Tensor:
        generator = torch.Generator().manual_seed(update)
        rows_B = torch.randint(len(self.x_TD), (BATCH,), generator=generator)
        return self.x_TD[rows_B.to(self.x_TD.device)]


def rows_of(contest: Contest, trainers: Sequence[str], budget: float) -> list[dict[str, Any]]:
    """Ours, and trainers in a multiple of its time."""
    place = contest.place
    # What compiles or loads once is no training.
    Quantizer(contest.config).to(place.home).eval().encode(contest.held_out_TD[:16], 1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    clocks = {mvq.OURS: _once(place, contest.k_means)}
    updates = contest.updates_within(budget * clocks[mvq.OURS].median)
    for name in trainers:
        trainer = contest.trainer(name, updates)
        clocks[name] = _once(place, partial(contest.run, name, trainer, updates))
    rows = []
    for name in (*trainers, mvq.OURS):
        peak = float("nan")  # of a process that trains all three it would mean nothing
        case = f"{contest.size}, held out"
        one = common.row(case, name, clocks[name], clocks[mvq.ANCHOR], peak)
        count = "" if name == mvq.OURS else str(2 * updates)
        rows.append({**one, "updates": count, "errors": contest.errors(name)})
    common.tell(rows)
    return rows


def _once(place: Place, work: Callable[[], None]) -> Any:
    return place.measure({"": work}, 1, warm_up=0)[""]


def main() -> None:
    """Train at all sizes that are asked for; our own training is judged by its time."""
    options = mvq.parser(common.parser(__doc__), SIZES)
    options.add_argument("--vectors", type=int, help=f"to learn from, by default {VECTORS}")
    options.add_argument(
        "--without_schedule", action="store_true", help="leave out our form of the trainer"
    )
    options.add_argument(
        "--budget", type=float, default=BUDGET, help="time of theirs in times of ours"
    )
    args = options.parse_args()
    package, place = mvq.published(), mvq.place_of(args)
    trainers = (mvq.ANCHOR,) if args.without_schedule else (mvq.ANCHOR, SCHEDULE)
    rows = []
    for size in args.sizes:
        contest = Contest(size, package, place, args.vectors or VECTORS)
        rows += rows_of(contest, trainers, args.budget)
    goals = {f"{size}, held out": GOAL for size in args.sizes}
    columns = {"updates": "updates", "error, 0 / 2 / 5 passes": "errors"}
    common.show(rows, goals, place, args.json, judged=mvq.OURS, columns=columns)


if __name__ == "__main__":
    main()
