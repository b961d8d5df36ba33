"""Both trainings: schedule, resumption, and that they learn what they are to learn."""

from __future__ import annotations

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.quantizer.kmeans import (
    KMeansOptions,
    fit_quantizer,
    kmeans,
    least_squares_centres,
)
from espnet_kd.quantizer.logit_layer import start_from_discriminants
from espnet_kd.quantizer.train import QuantizerTrainer, relative_errors


def _vectors(count: int = 600, dim: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(dim, dim, generator=generator)
    return torch.randn(count, dim, generator=generator).relu() @ mix + 3


def _trainer(seed: int = 0) -> QuantizerTrainer:
    torch.manual_seed(5)
    return QuantizerTrainer(8, 1, phase_one_iters=8, phase_two_iters=6, lr=0.01, seed=seed)


def _run(trainer: QuantizerTrainer, updates: int) -> list[float]:
    batches = _vectors().split(64)
    return [float(trainer.step(batches[trainer.updates % 9])["loss"]) for _ in range(updates)]


def test_published_schedule():
    trainer = _trainer()
    rates, sizes = [], []
    while not trainer.done:
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        sizes.append(trainer.quantizer.config.codebook_size)
        _run(trainer, 1)
    assert sizes == [16] * 9 + [256] * 6, "phase one has one update more"
    one = [0.01 / 2 ** (i // 2) for i in range(9)]
    assert rates == pytest.approx(one + [0.005] * 3 + [0.0025] * 3), "6 / 4 is no whole number"
    assert trainer.quantizer.config.num_codebooks == 1


def test_a_resumed_training_goes_on_exactly():
    for stop in (4, 9, 12):
        whole = _trainer()
        losses = _run(whole, 15)
        first = _trainer()
        _run(first, stop)
        second = _trainer(seed=99)
        second.load_state_dict(first.state_dict())
        assert _run(second, 15 - stop) == losses[stop:]
        assert second.quantizer.id == first.quantizer.id or stop < 9
        assert torch.equal(second.quantizer.centers, whole.quantizer.centers)


def test_lengths_are_checked_together():
    with pytest.raises(ConfigError) as error:
        QuantizerTrainer(8, 1, phase_one_iters=0, phase_two_iters=0, lr=0)
    assert len(error.value.problems) == 3


def test_kmeans_finds_separate_clusters_also_from_a_bad_start():
    generator = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    x_TD = (places.unsqueeze(1) + torch.randn(4, 30, 2, generator=generator)).flatten(0, 1)
    centres_KD, codes_T = kmeans(x_TD, 4, 10, generator)
    assert (x_TD - centres_KD[codes_T]).square().mean() < 400
    twins = torch.zeros(10, 2)
    twins[9] = 5.0
    centres_KD, codes_T = kmeans(twins, 2, 3, generator)
    assert torch.equal(centres_KD[codes_T], twins), "an empty cluster begins again far away"


def test_least_squares_centres_are_the_best():
    x_TD, generator = _vectors(200), torch.Generator().manual_seed(1)
    codes_TN = torch.randint(4, (200, 3), generator=generator)
    codes_TN[codes_TN[:, 2] == 3, 2] = 2  # the last centre has no vectors
    start = torch.randn(3, 4, 8, generator=generator)
    centres_NKD = least_squares_centres(x_TD, start, codes_TN, ridge=1e-6)
    one_hot = torch.nn.functional.one_hot(codes_TN, 4).float().flatten(1)
    best = one_hot @ torch.linalg.lstsq(one_hot, x_TD, driver="gelsd").solution
    torch.testing.assert_close(one_hot @ centres_NKD.flatten(0, 1), best, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(centres_NKD[2, 3], start[2, 3])


def test_discriminants_tell_classes_apart():
    x_TD = _vectors(400)
    codes_TN = torch.stack([(x_TD[:, 0] > 4).long(), (x_TD[:, 1] > 2).long()], dim=1)
    quantizer = Quantizer(QuantizerConfig(8, 2, 2)).eval()
    start_from_discriminants(quantizer, x_TD, codes_TN)
    assert (quantizer.logits(x_TD).argmax(2) == codes_TN).float().mean() > 0.9


def test_fast_training_beats_a_few_published_updates_and_fits_the_logits():
    x_TD = _vectors(1200)
    told = []
    quantizer = fit_quantizer(
        x_TD[200:],
        QuantizerConfig(8, 2, 16),
        KMeansOptions(logit_steps=20),
        lambda share, what: told.append(share),
    ).eval()
    assert told == sorted(told)
    assert told[-1] == 1.0
    errors = relative_errors(quantizer, x_TD[:200])
    assert errors[5] < 0.2
    assert errors[0] < 0.6, "the logit layer alone proposes usable codes"
    again = fit_quantizer(x_TD[200:], QuantizerConfig(8, 2, 16), KMeansOptions(logit_steps=20))
    assert torch.equal(again.centers, quantizer.centers), "the seed decides"


def test_too_few_vectors():
    with pytest.raises(ConfigError, match="clusters"):
        fit_quantizer(_vectors(100), QuantizerConfig(8, 1, 256))
    with pytest.raises(ConfigError, match="width"):
        fit_quantizer(_vectors(100), QuantizerConfig(9, 1, 16))
