"""The quantiser's codes, bytes, losses and messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from espnet_kd.errors import ConfigError
from espnet_kd.quantizer import CodesError, Quantizer, QuantizerConfig, pack, unpack


def _quantizer(number: int = 4, size: int = 16, dim: int = 6) -> Quantizer:
    torch.manual_seed(number)
    return Quantizer(QuantizerConfig(dim, number, size)).eval()


@pytest.mark.parametrize(
    ("number", "size", "width"),
    [(8, 256, 8), (8, 16, 4), (8, 4, 2), (1, 16, 1), (2, 2, 1), (8, 64, 8)],
)
def test_packing_is_undone(number, size, width):
    config = QuantizerConfig(3, number, size)
    codes = torch.randint(size, (5, 7, number), generator=torch.Generator().manual_seed(0))
    packed = pack(codes, config)
    assert packed.shape == (5, 7, width)
    assert packed.dtype == torch.uint8
    assert config.bytes_per_frame == width
    assert torch.equal(unpack(packed, config), codes)
    assert torch.equal(unpack(codes.to(torch.int16), config), codes)


def test_the_first_code_is_the_low_one():
    assert pack(torch.tensor([3, 5]), QuantizerConfig(1, 2, 16)).tolist() == [3 + 16 * 5]


def test_size_of_an_hour():
    assert QuantizerConfig(1280, 8).bytes_per_hour() == 8 * 180_000


def test_sizes_are_checked_together():
    with pytest.raises(ConfigError) as error:
        QuantizerConfig(0, 0, 1)
    assert len(error.value.problems) == 3


def test_any_number_of_codebooks_encodes():
    torch.manual_seed(0)
    quantizer, x_BD = _quantizer(3, 20), torch.randn(64, 6)

    def error(iters: int) -> float:
        decoded_BD = quantizer.decode(quantizer.encode(x_BD, iters, keep_best=True))
        return float((decoded_BD - x_BD).square().sum())

    assert quantizer.encode(x_BD).shape == (64, 3)
    assert error(3) < 0.9 * error(0)
    with pytest.raises(ConfigError, match="only an even number makes pairs"):
        quantizer.product()


def test_a_quantiser_may_keep_the_best_codes_of_all_passes_by_itself():
    """Many overlapping codebooks of random centres: the last pass is not the best one for all."""
    torch.manual_seed(0)
    published, x_BD = _quantizer(16, 16), torch.randn(256, 6)
    ours = Quantizer(replace(published.config, keep_best=True))
    ours.load_state_dict(published.state_dict())
    best_BN = published.encode(x_BD, keep_best=True, as_bytes=False)
    last_BN = published.encode(x_BD, as_bytes=False)
    assert torch.equal(ours.encode(x_BD, as_bytes=False), best_BN)
    assert torch.equal(ours.encode(x_BD, keep_best=False, as_bytes=False), last_BN)
    assert not torch.equal(best_BN, last_BN)


def test_large_codebooks_do_not_fit_bytes():
    quantizer = _quantizer(2, 512)
    x_BD = torch.randn(3, 6)
    assert quantizer.encode(x_BD, 1, as_bytes=False).dtype == torch.int64
    with pytest.raises(ConfigError, match="do not fit bytes"):
        quantizer.encode(x_BD, 1)


def test_encoding_in_chunks_changes_nothing(monkeypatch):
    quantizer, x = _quantizer(), torch.randn(5, 9, 6)
    whole = quantizer.encode(x)
    monkeypatch.setattr("espnet_kd.quantizer.quantizer._CHUNK_FLOATS", 7 * 64)
    assert torch.equal(quantizer.encode(x), whole)
    assert whole.shape == (5, 9, 2)
    assert quantizer.encode(x[:0]).shape == (0, 9, 2)


def test_codes_follow_changed_centres():
    """What is prepared for the search is prepared anew when the centres change."""
    quantizer, x_BD = _quantizer(), torch.randn(20, 6)
    before = quantizer.encode(x_BD, 2)
    other = _quantizer(8).state_dict()
    with torch.no_grad():
        quantizer.centers.copy_(other["centers"][:4] * 3)
    after = quantizer.encode(x_BD, 2)
    assert not torch.equal(before, after)
    fresh = Quantizer(quantizer.config).eval()
    fresh.load_state_dict(quantizer.state_dict())
    assert torch.equal(fresh.encode(x_BD, 2), after)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.encode(x_BD, 2), after)
    assert quantizer.encode(x_BD.half(), 2).shape == after.shape


def test_each_loss_teaches_its_own_parameters():
    quantizer = _quantizer().train()
    losses = quantizer(torch.randn(30, 6), 1)
    losses["reconstruction"].backward(retain_graph=True)
    assert float(quantizer.centers.grad.norm()) > 0
    assert quantizer.to_logits.weight.grad is None
    quantizer.zero_grad()
    losses["logprob"].backward()
    assert quantizer.centers.grad is None
    assert float(quantizer.logits_scale.grad.abs()) > 0
    assert not losses["index_entropy"].requires_grad
    total = losses["reconstruction"] + losses["logprob"] + 0.01 * losses["logits_entropy"]
    assert float(total) == pytest.approx(float(losses["loss"]))


def test_product_adds_centres_and_scores():
    quantizer = _quantizer()
    product, x_BD = quantizer.product(), torch.randn(3, 6)
    codes = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(quantizer.decode(codes), product.decode(torch.tensor([[18, 52]])))
    pairs = quantizer.logits(x_BD)
    expected = (pairs[:, 0, :, None] + pairs[:, 1, None, :]).flatten(1)
    torch.testing.assert_close(product.logits(x_BD)[:, 0], expected)
    assert product.id != quantizer.id


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: q.encode(torch.zeros(2, 7)), "width 6"),
        (lambda q: q.encode(torch.full((2, 6), torch.nan)), "NaN"),
        (lambda q: q.decode(torch.zeros(2, 3, dtype=torch.long)), "4 codebooks"),
        (lambda q: q.decode(torch.full((2, 4), 16)), "range from 16 to 16"),
        (lambda q: q.decode(torch.full((2, 2), 256)), "bytes"),
        (lambda q: q.decode(torch.zeros(2, 4)), "integers"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(CodesError, match=message):
        call(_quantizer())
