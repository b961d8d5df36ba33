"""Who computes a transducer loss: torch code of ours, or k2 or torchaudio where installed.

Both give the same numbers; k2 has no build for every torch, torchaudio the full lattice alone.

Shapes: B batch, S symbols, U = S + 1 states of a frame, T frames, R states kept per frame, V
vocabulary.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from torch import Tensor

from espnet_kd.errors import MissingDependencyError
from espnet_kd.losses.transducer import pruned, simple
from espnet_kd.losses.transducer.lattice import Lattice, exact

BACKENDS = ("torch", "k2", "torchaudio")

_INSTALL = {
    "k2": "pip install k2 for exactly your torch and CUDA, from k2's page of wheels (PyPI's k2 is "
    "for torch 1.13)",
    "torchaudio": "pip install torchaudio in the version of your torch",
}


class Backend:
    """Ours, and what the others have to offer: one loss per utterance."""

    def full(self, logits_BTUV: Tensor, lattice: Lattice, blank: int, delay: float) -> Tensor:
        """Losses (B,) of the full lattice."""
        return pruned.rnnt_loss(logits_BTUV, lattice.symbols_BS, blank, **_options(lattice, delay))

    def smoothed(
        self,
        lm_BUV: Tensor,
        am_BTV: Tensor,
        lattice: Lattice,
        blank: int,
        delay: float,
        scales: tuple[float, float],
    ) -> simple.SimpleLoss:
        """Losses (B,) of am + lm, and occupancies; ``scales`` of lm and of am alone."""
        return simple.rnnt_loss_smoothed(
            lm_BUV, am_BTV, lattice.symbols_BS, blank,
            lm_only_scale=scales[0], am_only_scale=scales[1], **_options(lattice, delay),
        )  # fmt: skip

    def ranges(self, occupied: simple.SimpleLoss, boundary_B4: Tensor, s_range: int) -> Tensor:
        """States to keep, (B, T, R)."""
        return pruned.get_rnnt_prune_ranges(
            occupied.px_grad, occupied.py_grad, boundary_B4, s_range
        )

    def pruned(
        self, logits_BTRV: Tensor, lattice: Lattice, ranges_BTR: Tensor, blank: int, delay: float
    ) -> Tensor:
        """Losses (B,) of the states that were kept."""
        return pruned.rnnt_loss_pruned(
            logits_BTRV, lattice.symbols_BS, ranges_BTR, blank, **_options(lattice, delay)
        )


class K2Backend(Backend):
    """k2's own functions; float32."""

    def __init__(self) -> None:
        self.k2 = _import("k2")

    def full(self, logits_BTUV: Tensor, lattice: Lattice, blank: int, delay: float) -> Tensor:
        """k2's ``rnnt_loss``."""
        with exact(logits_BTUV):
            loss_B: Tensor = self.k2.rnnt_loss(
                logits_BTUV.float(), lattice.symbols_BS, blank, **_options(lattice, delay)
            )
        return loss_B

    def smoothed(
        self,
        lm_BUV: Tensor,
        am_BTV: Tensor,
        lattice: Lattice,
        blank: int,
        delay: float,
        scales: tuple[float, float],
    ) -> simple.SimpleLoss:
        """k2's ``rnnt_loss_smoothed``."""
        with exact(am_BTV):
            loss_B, grads = self.k2.rnnt_loss_smoothed(
                lm_BUV.float(), am_BTV.float(), lattice.symbols_BS, blank,
                lm_only_scale=scales[0], am_only_scale=scales[1], return_grad=True,
                **_options(lattice, delay),
            )  # fmt: skip
        return simple.SimpleLoss(loss_B, *grads)

    def ranges(self, occupied: simple.SimpleLoss, boundary_B4: Tensor, s_range: int) -> Tensor:
        """k2's ``get_rnnt_prune_ranges``."""
        ranges_BTR: Tensor = self.k2.get_rnnt_prune_ranges(
            occupied.px_grad, occupied.py_grad, boundary_B4, s_range
        )
        return ranges_BTR

    def pruned(
        self, logits_BTRV: Tensor, lattice: Lattice, ranges_BTR: Tensor, blank: int, delay: float
    ) -> Tensor:
        """k2's ``rnnt_loss_pruned``."""
        with exact(logits_BTRV):
            loss_B: Tensor = self.k2.rnnt_loss_pruned(
                logits_BTRV.float(), lattice.symbols_BS, ranges_BTR, blank,
                **_options(lattice, delay),
            )  # fmt: skip
        return loss_B


class TorchaudioBackend(Backend):
    """torchaudio for the full, regular lattice without delay penalty; ours for the rest."""

    def __init__(self) -> None:
        self.functional = _import("torchaudio.functional")

    def full(self, logits_BTUV: Tensor, lattice: Lattice, blank: int, delay: float) -> Tensor:
        """The full loss of torchaudio."""
        frames_B, symbols_B = lattice.boundary_B4[:, 3].int(), lattice.boundary_B4[:, 2].int()
        frames, symbols = int(frames_B.max()), int(symbols_B.max())  # it refuses longer padding
        with exact(logits_BTUV), warnings.catch_warnings():
            # 2.8 says that it will go away in 2.9; 2.10 says that it stays.
            warnings.filterwarnings("ignore", message=".*(deprecat|rnnt_loss).*")
            loss_B: Tensor = self.functional.rnnt_loss(
                logits_BTUV[:, :frames, : symbols + 1].float().contiguous(),
                lattice.symbols_BS[:, :symbols].int().contiguous(),
                frames_B, symbols_B, blank=blank, reduction="none",
            )  # fmt: skip
        return loss_B


def load_backend(name: str) -> Backend:
    """The backend of one of the names in :data:`BACKENDS`.

    Raises:
        MissingDependencyError: it is not installed, or not for this torch.
    """
    return {"torch": Backend, "k2": K2Backend, "torchaudio": TorchaudioBackend}[name]()


def _options(lattice: Lattice, delay: float) -> dict[str, Any]:
    return {
        "boundary": lattice.boundary_B4,
        "rnnt_type": lattice.rnnt_type,
        "delay_penalty": delay,
        "reduction": "none",
    }


def _import(name: str) -> Any:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"backend: {package} cannot be used ({error}). {_INSTALL[package]}; or take backend: "
            "torch, which needs nothing and gives the same numbers"
        ) from error
