"""The modules: parts, warm-up, lengths, utterances without a path, options, other backends."""

from __future__ import annotations

import copy
import importlib
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lattices import random
from torch import Tensor

from espnet_kd.errors import ConfigError, MissingDependencyError
from espnet_kd.losses import LossInputError, PrunedTransducerLoss, TransducerLoss, transducer
from espnet_kd.losses.transducer import (
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    pruned_loss_scale,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_smoothed,
)

FRAMES, SYMBOLS, VOCABULARY, WIDTH = 7, 4, 6, 3
SYMBOL_LENGTHS, FRAME_LENGTHS = torch.tensor([3, 0, 2]), torch.tensor([6, 3, 5])
TRANSCRIPTS = torch.tensor([[1, 4, 5, -1], [-1, -1, -1, -1], [2, 2, -1, -1]])
BOUNDARY = torch.tensor([[0, 0, 3, 6], [0, 0, 0, 3], [0, 0, 2, 5]])
WEIGHT = random(VOCABULARY, WIDTH, seed=9, dtype=torch.float32)


def logits() -> Tensor:
    return random(3, FRAMES, SYMBOLS + 1, VOCABULARY, dtype=torch.float32)


def joiner(am: Tensor, lm: Tensor) -> Tensor:
    return torch.tanh(am + lm) @ WEIGHT.T


def pruned_inputs() -> dict[str, Any]:
    sizes = {
        "am_BTV": (FRAMES, VOCABULARY),
        "lm_BUV": (SYMBOLS + 1, VOCABULARY),
        "encoder_BTC": (FRAMES, WIDTH),
        "decoder_BUC": (SYMBOLS + 1, WIDTH),
    }
    tensors = {
        name: random(3, *shape, seed=seed, dtype=torch.float32).requires_grad_()
        for seed, (name, shape) in enumerate(sizes.items())
    }
    others = {"symbols_BS": TRANSCRIPTS, "joiner": joiner}
    lengths = {"frame_lengths_B": FRAME_LENGTHS, "symbol_lengths_B": SYMBOL_LENGTHS}
    return {**tensors, **others, **lengths}


def full(**options: Any) -> dict[str, Tensor]:
    loss = TransducerLoss(**options)
    return loss(logits(), TRANSCRIPTS, FRAME_LENGTHS, SYMBOL_LENGTHS)


def test_full_loss_is_the_function_of_lengths() -> None:
    for reduction in ("sum", "mean"):
        expected = rnnt_loss(logits(), TRANSCRIPTS, 3, boundary=BOUNDARY, reduction=reduction)
        terms = full(blank=3, reduction=reduction)
        torch.testing.assert_close(terms["loss"], expected)
        assert int(terms["skipped"]) == 0


def test_pruned_loss_joins_its_parts() -> None:
    inputs = pruned_inputs()
    terms = PrunedTransducerLoss(prune_range=3, simple_loss_scale=0.5)(**inputs)
    simple = rnnt_loss_smoothed(
        inputs["lm_BUV"], inputs["am_BTV"], TRANSCRIPTS, lm_only_scale=0.25, am_only_scale=0.0,
        boundary=BOUNDARY, reduction="sum",
    )  # fmt: skip
    ranges = get_rnnt_prune_ranges(simple.px_grad, simple.py_grad, BOUNDARY, 3)
    kept = do_rnnt_pruning(inputs["encoder_BTC"], inputs["decoder_BUC"], ranges)
    pruned = rnnt_loss_pruned(
        joiner(*kept), TRANSCRIPTS, ranges, boundary=BOUNDARY, reduction="sum"
    )
    torch.testing.assert_close(terms["loss_simple"], simple.loss)
    torch.testing.assert_close(terms["loss_pruned"], pruned)
    torch.testing.assert_close(terms["loss"], 0.5 * simple.loss + pruned)
    terms["loss"].backward()
    for name in ("am_BTV", "lm_BUV", "encoder_BTC", "decoder_BUC"):
        assert torch.isfinite(inputs[name].grad).all()
        assert inputs[name].grad.any()


@pytest.mark.parametrize(
    ("warmup", "scale"), [(0.0, 0.0), (0.99, 0.0), (1.0, 0.0), (1.01, 0.1), (2.0, 0.1), (2.1, 1.0)]
)
def test_warm_up(warmup: float, scale: float) -> None:
    assert pruned_loss_scale(warmup) == scale
    terms = PrunedTransducerLoss()(**pruned_inputs(), warmup=warmup)
    expected = 0.5 * terms["loss_simple"] + scale * terms["loss_pruned"]
    torch.testing.assert_close(terms["loss"], expected)


def test_defaults_are_the_published_ones() -> None:
    loss = PrunedTransducerLoss()
    found = (loss.prune_range, loss.lm_scale, loss.am_scale, loss.simple_loss_scale, loss.reduction)
    assert found == (5, 0.25, 0.0, 0.5, "sum")
    assert (loss.rnnt_type, loss.delay_penalty, loss.backend) == ("regular", 0.0, "torch")


def test_an_utterance_without_a_path_counts_for_nothing() -> None:
    """Modified lattice: utterance 0 has 2 frames for 3 symbols."""
    lengths = torch.tensor([2, 3, 5])
    x = logits().requires_grad_()
    terms = TransducerLoss(rnnt_type="modified")(x, TRANSCRIPTS, lengths, SYMBOL_LENGTHS)
    others = TransducerLoss(rnnt_type="modified")(
        x[1:], TRANSCRIPTS[1:], lengths[1:], SYMBOL_LENGTHS[1:]
    )
    assert int(terms["skipped"]) == 1
    torch.testing.assert_close(terms["loss"], others["loss"])
    terms["loss"].backward()
    assert not x.grad[0].any()
    inputs = pruned_inputs() | {"frame_lengths_B": lengths}
    terms = PrunedTransducerLoss(rnnt_type="modified")(**inputs)
    assert int(terms["skipped"]) == 1
    assert torch.isfinite(terms["loss"])


def test_options_are_checked_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        PrunedTransducerLoss(
            prune_range=1, lm_scale=0.8, am_scale=0.4, simple_loss_scale=-1.0, rnnt_type="new",
            delay_penalty=-0.1, reduction="none", backend="jax",
        )  # fmt: skip
    assert len(caught.value.problems) == 7
    with pytest.raises(ConfigError, match="torchaudio has no pruned"):
        PrunedTransducerLoss(backend="torchaudio")
    for option in ({"rnnt_type": "modified"}, {"delay_penalty": 0.1}):
        with pytest.raises(ConfigError, match="take backend: torch"):
            TransducerLoss(backend="torchaudio", **option)


def test_wrong_input_is_one_clear_error() -> None:
    loss = TransducerLoss()
    with pytest.raises(LossInputError, match="symbols.1, vocabulary"):
        loss(logits()[:, :, 1:], TRANSCRIPTS, FRAME_LENGTHS, SYMBOL_LENGTHS)
    with pytest.raises(LossInputError, match="both must have the shape"):
        loss(logits(), TRANSCRIPTS, FRAME_LENGTHS, SYMBOL_LENGTHS[:2])
    with pytest.raises(LossInputError, match="utterance 1 of the batch"):
        loss(logits(), TRANSCRIPTS, FRAME_LENGTHS + torch.tensor([0, 9, 0]), SYMBOL_LENGTHS)
    pruned = PrunedTransducerLoss()
    with pytest.raises(LossInputError, match="am is"):
        pruned(**{**pruned_inputs(), "am_BTV": torch.zeros(3, 4)})
    with pytest.raises(LossInputError, match=r"joiner: .*3, 6, 5, 6.* = \(3, 7, 5, 6\)"):
        pruned(**{**pruned_inputs(), "joiner": lambda am, lm: joiner(am, lm)[:, 1:]})


def test_torchaudio_gives_the_same() -> None:
    pytest.importorskip("torchaudio")
    x, y = logits().requires_grad_(), logits().requires_grad_()
    lengths = (TRANSCRIPTS, FRAME_LENGTHS, SYMBOL_LENGTHS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = TransducerLoss(backend="torchaudio")(x, *lengths)["loss"]
    ours = TransducerLoss()(y, *lengths)["loss"]
    torch.testing.assert_close(theirs, ours)
    (theirs + 0).backward()
    ours.backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)


def k2_of_ours() -> types.ModuleType:
    """A stand-in with the signatures of k2 1.24, which has no build for every torch."""

    def smoothed(
        lm: Tensor, am: Tensor, symbols: Tensor, termination_symbol: int,
        lm_only_scale: float = 0.1, am_only_scale: float = 0.1, boundary: Tensor | None = None,
        rnnt_type: str = "regular", delay_penalty: float = 0.0, reduction: str = "mean",
        return_grad: bool = False,
    ) -> Any:  # fmt: skip
        assert lm.dtype == am.dtype == torch.float32
        assert return_grad
        found = rnnt_loss_smoothed(
            lm, am, symbols, termination_symbol, lm_only_scale=lm_only_scale,
            am_only_scale=am_only_scale, boundary=boundary, rnnt_type=rnnt_type,
            delay_penalty=delay_penalty, reduction=reduction,
        )  # fmt: skip
        return found.loss, (found.px_grad, found.py_grad)

    def plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def called(logits: Tensor, symbols: Tensor, *others: Any, **options: Any) -> Tensor:
            assert logits.dtype == torch.float32
            assert symbols.dtype == options["boundary"].dtype == torch.int64
            return function(logits, symbols, *others, **options)

        return called

    module = types.ModuleType("k2")
    vars(module).update(
        rnnt_loss=plain(rnnt_loss),
        rnnt_loss_pruned=plain(rnnt_loss_pruned),
        rnnt_loss_smoothed=smoothed,
        get_rnnt_prune_ranges=get_rnnt_prune_ranges,
    )
    return module


def test_k2_is_called_as_its_signatures_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "k2", k2_of_ours())
    torch.testing.assert_close(full(backend="k2")["loss"], full()["loss"])
    options = {"prune_range": 3, "rnnt_type": "modified", "delay_penalty": 0.01}
    theirs = PrunedTransducerLoss(backend="k2", **options)(**pruned_inputs())
    ours = PrunedTransducerLoss(**options)(**pruned_inputs())
    assert theirs.keys() == ours.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name])


@pytest.mark.parametrize("name", ["k2", "torchaudio"])
def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.functional", None)
    with pytest.raises(MissingDependencyError, match=f"(?s){name} cannot be used.*backend: torch"):
        TransducerLoss(backend=name)


def test_k2_itself() -> None:
    """Where a k2 for this torch is installed."""
    try:
        importlib.import_module("k2")
    except ImportError as error:
        pytest.skip(f"no k2 for this torch: {error}")
    torch.testing.assert_close(full(backend="k2")["loss"], full()["loss"])
    theirs = PrunedTransducerLoss(backend="k2", prune_range=3)(**pruned_inputs())
    ours = PrunedTransducerLoss(prune_range=3)(**pruned_inputs())
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name])


def test_modules_can_be_copied_and_hold_no_weights() -> None:
    """ESPnet copies and stores models."""
    for loss in (TransducerLoss(backend="torchaudio"), PrunedTransducerLoss()):
        assert not copy.deepcopy(loss).state_dict()
    assert transducer.PrunedTransducerLoss is PrunedTransducerLoss
