"""The quantiser against the published package: codes, bytes, vectors, losses, steps of training."""

from __future__ import annotations

import re

import golden_mvq as golden
import pytest
import torch
from torch import Tensor

from espnet_kd.quantizer import Quantizer, QuantizerConfig
from espnet_kd.quantizer.refine import refine
from espnet_kd.quantizer.train import make_optimizer, training_step
from espnet_kd.utils.weights import load_strictly

pytestmark = pytest.mark.golden
LOSSES = ("reconstruction", "logprob", "logits_entropy", "index_entropy")


def _quantizer(case: golden.Case, state: dict[str, Tensor]) -> Quantizer:
    sizes = {name: case.settings[name] for name in ("dim", "num_codebooks", "codebook_size")}
    quantizer = Quantizer(QuantizerConfig(**sizes))
    load_strictly(quantizer, state, case.name)
    return quantizer.eval()


@pytest.fixture(params=golden.quantizers())
def case(request: pytest.FixtureRequest) -> golden.Case:
    return request.param


@pytest.fixture
def quantizer(case: golden.Case) -> Quantizer:
    return _quantizer(case, case.tensors)


def _settings_of_refinement(case: golden.Case) -> list[int]:
    found = (re.fullmatch(r"indexes_it(\d+)", name) for name in case.arrays)
    return sorted(int(match[1]) for match in found if match)


def test_published_weights_and_identity(case: golden.Case, quantizer: Quantizer) -> None:
    assert list(quantizer.state_dict()) == list(case.settings["keys"])
    assert quantizer.id == case.settings["id"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_at_every_refinement(
    case: golden.Case, quantizer: Quantizer, dtype: torch.dtype
) -> None:
    """The compiled search in float32, the one in plain torch in float64."""
    quantizer = quantizer.to(dtype)
    assert _settings_of_refinement(case)
    for iters in _settings_of_refinement(case):
        codes_BN = quantizer.encode(case.arrays["x"], iters, as_bytes=False)
        stable_B = case.arrays[f"stable_it{iters}"]
        wanted_BN = case.arrays[f"indexes_it{iters}"].long()
        assert stable_B.any()
        assert torch.equal(codes_BN[stable_B], wanted_BN[stable_B])
        packed_BP = quantizer.encode(case.arrays["x"], iters)
        assert packed_BP.dtype == torch.uint8
        assert torch.equal(packed_BP[stable_B], case.arrays[f"bytes_it{iters}"][stable_B])


def test_codes_of_the_search_in_plain_torch(case: golden.Case, quantizer: Quantizer) -> None:
    first_BN = case.arrays["indexes_it0"].long()
    for iters in _settings_of_refinement(case):
        codes_BN = refine(quantizer.centres(), case.arrays["x"], first_BN, iters, compiled=False)
        stable_B = case.arrays[f"stable_it{iters}"]
        assert torch.equal(codes_BN[stable_B], case.arrays[f"indexes_it{iters}"][stable_B].long())


def test_vectors_from_codes_and_from_bytes(case: golden.Case, quantizer: Quantizer) -> None:
    for iters in _settings_of_refinement(case):
        decoded_BD = quantizer.decode(case.arrays[f"indexes_it{iters}"])
        assert torch.equal(decoded_BD, quantizer.decode(case.arrays[f"bytes_it{iters}"]))
        error_B = (decoded_BD - case.arrays["x"]).square().sum(1)
        torch.testing.assert_close(error_B, case.arrays[f"sqerr_it{iters}"], rtol=1e-5, atol=1e-5)
    for name in (name for name in case.arrays if name.startswith("decoded_it")):
        indexes = case.arrays[name.replace("decoded", "indexes")]
        torch.testing.assert_close(
            quantizer.decode(indexes), case.arrays[name], rtol=1e-5, atol=1e-5
        )


def test_logits_mean_and_correlations(case: golden.Case, quantizer: Quantizer) -> None:
    wanted = case.arrays["logits"]
    logits = quantizer.logits(case.arrays["x"][: len(wanted)]).flatten(1)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    for found, name in (
        (quantizer.data_mean(), "data_mean"),
        (quantizer.correlations(), "correlations"),
    ):
        torch.testing.assert_close(found, case.arrays[name], rtol=1e-5, atol=1e-5)


def test_losses_at_every_refinement(case: golden.Case, quantizer: Quantizer) -> None:
    for iters in _settings_of_refinement(case):
        losses = quantizer(case.arrays["x"], iters)
        found = torch.stack([losses[name] for name in LOSSES])
        torch.testing.assert_close(found, case.arrays[f"losses_it{iters}"], rtol=1e-5, atol=1e-6)


@pytest.fixture(params=golden.traces())
def trace(request: pytest.FixtureRequest) -> golden.Case:
    return request.param


def _last_weights(trace: golden.Case) -> dict[str, Tensor]:
    prefix = next(m[0] for name in trace.tensors if (m := re.match(r"after\d+\.", name)))
    return trace.under(prefix)


def test_gradients_of_the_first_step(trace: golden.Case) -> None:
    quantizer = _quantizer(trace, trace.under("init.")).train()
    quantizer(trace.tensors["batches"][0], trace.settings["refine_iters"][0])["loss"].backward()
    gradients = {name: p.grad for name, p in quantizer.named_parameters()}
    assert gradients.keys() == trace.under("grad0.").keys()
    for name, wanted in trace.under("grad0.").items():
        torch.testing.assert_close(gradients[name], wanted, rtol=1e-5, atol=2e-5)


def test_steps_of_training(trace: golden.Case) -> None:
    settings = trace.settings
    quantizer = _quantizer(trace, trace.under("init.")).train()
    optimizer = make_optimizer(quantizer, settings["lr"])
    group = optimizer.param_groups[0]
    assert group["betas"] == tuple(settings["betas"])
    assert (group["eps"], group["weight_decay"]) == (settings["eps"], settings["weight_decay"])
    steps = zip(trace.tensors["batches"], settings["refine_iters"], strict=True)
    for (x_BD, iters), wanted in zip(steps, trace.tensors["losses"], strict=True):
        losses = training_step(quantizer, optimizer, x_BD, iters)
        found = torch.stack([losses[name] for name in LOSSES])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    for name, wanted in _last_weights(trace).items():
        torch.testing.assert_close(quantizer.state_dict()[name], wanted, rtol=1e-5, atol=2e-5)


def test_pairs_of_codebooks(trace: golden.Case) -> None:
    after = _last_weights(trace)
    state = {"id_buf": trace.tensors["init.id_buf"]} | after
    product = _quantizer(trace, state).product().eval()
    x_BD = trace.tensors["product.x"]
    wanted = trace.tensors["product.logits_head"]
    torch.testing.assert_close(product.logits(x_BD[: len(wanted)]), wanted, rtol=1e-5, atol=1e-5)
    sums_ND = product.effective_centers().sum(dim=1)
    torch.testing.assert_close(sums_ND, trace.tensors["product.centers_sum"], rtol=1e-5, atol=1e-4)
    settings = [n for n in trace.tensors if n.startswith("product.indexes_it")]
    assert settings
    for name in settings:
        iters = int(name.rpartition("it")[2])
        codes_BN = product.encode(x_BD, iters, as_bytes=False)
        assert torch.equal(codes_BN, trace.tensors[name].long())
