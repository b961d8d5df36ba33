"""Transducer losses with their joiner, forward and backward: ours and torchaudio's.

4 utterances of 10 s with 60 symbols out of 500, encoder and decoder outputs of width 512. The full
lattice joins every frame with every symbol; the pruned loss (with its simple loss, as published)
five states per frame. k2, where a build for this torch is installed, takes part.

``python benchmarks/transducer.py --runs 5``
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import common
import torch
from place import Place
from torch import Tensor, nn

from espnet_kd.losses import PrunedTransducerLoss, TransducerLoss

CASE = "loss and joiner, {batch} × 10 s"
BATCHES = {"cpu": (4,), "cuda": (4, 32)}
GOAL = 0.1
FRAMES, SYMBOLS, VOCABULARY, WIDTH = 250, 60, 500, 512
ANCHOR = "torchaudio, full lattice"
FULL = "espnet_kd, full lattice"
PRUNED = "espnet_kd, 5 states per frame"
K2 = "k2, 5 states per frame"


class Joiner(nn.Module):
    """tanh of the sum of two projections, then the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, VOCABULARY)
        self.am, self.lm = nn.Linear(WIDTH, VOCABULARY), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        return self.output(torch.tanh(encoder + decoder))


def step_of(name: str, place: Place, size: int) -> Callable[[], float]:
    """A function that makes all gradients once and returns the (pruned) loss."""
    torch.manual_seed(0)
    joiner = place.put(Joiner())
    encoder_BTC = place.put(torch.randn(size, FRAMES, WIDTH)).requires_grad_()
    decoder_BUC = place.put(torch.randn(size, SYMBOLS + 1, WIDTH)).requires_grad_()
    symbols_BS = place.put(torch.randint(1, VOCABULARY, (size, SYMBOLS)))
    frames_B = place.put(torch.full((size,), FRAMES))
    symbols_B = place.put(torch.full((size,), SYMBOLS))
    batch = (symbols_BS, frames_B, symbols_B)
    leaves = [encoder_BTC, decoder_BUC, *joiner.parameters()]
    full = TransducerLoss(backend="torchaudio" if name == ANCHOR else "torch", reduction="sum")
    pruned = PrunedTransducerLoss(prune_range=5, backend="k2" if name == K2 else "torch")

    def losses() -> tuple[Tensor, Tensor]:
        encoder, decoder = joiner.encoder(encoder_BTC), joiner.decoder(decoder_BUC)
        if name in (ANCHOR, FULL):
            loss = full(joiner(encoder[:, :, None], decoder[:, None]), *batch)["loss"]
            return loss, loss
        am_BTV, lm_BUV = joiner.am(encoder_BTC), joiner.lm(decoder_BUC)
        terms = pruned(am_BTV, lm_BUV, encoder, decoder, joiner, *batch)
        return terms["loss"], terms["loss_pruned"]

    def step() -> float:
        for leaf in leaves:
            leaf.grad = None
        with place.autocast():
            loss, shown = losses()
        loss.backward()
        return float(shown.detach())

    return step


def main() -> None:
    """Time all losses; the last, our pruned one, is judged."""
    names = [ANCHOR, FULL, *([K2] if importlib.util.find_spec("k2") else []), PRUNED]
    makers = {name: partial(step_of, name) for name in names}
    common.compare_steps(__doc__, __file__, CASE, makers, GOAL, BATCHES)


if __name__ == "__main__":
    main()
