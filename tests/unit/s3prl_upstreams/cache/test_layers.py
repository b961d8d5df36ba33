"""The product adds layers as S3PRL does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s3prl_upstreams.cache.layers import Layers, sum_by_product


class Featurizer(nn.Module):
    """What S3PRL's has of it."""

    def __init__(self, normalize):
        super().__init__()
        self.normalize = normalize
        self.weights = nn.Parameter(torch.linspace(-1.0, 2.0, 4))

    def _weighted_sum(self, layers):
        stacked = torch.stack(layers)
        if self.normalize:
            stacked = nn.functional.layer_norm(stacked, (stacked.shape[-1],))
        return torch.einsum("n,nbtd->btd", self.weights.softmax(0), stacked)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", [Layers, lambda x: list(x.unbind())])
def test_sums_and_gradients_are_equal(normalize, kind):
    torch.manual_seed(0)
    stacked = torch.randn(4, 2, 5, 3)
    found = []
    for product in (False, True):
        featurizer = Featurizer(normalize)
        if product:
            sum_by_product(featurizer)
        summed = featurizer._weighted_sum(kind(stacked))
        (summed**2).sum().backward()
        found.append((summed, featurizer.weights.grad))
        assert list(featurizer.state_dict()) == ["weights"]
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
