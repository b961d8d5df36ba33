"""How near a pruned student came to its target."""

from __future__ import annotations

import pytest

from espnet_kd.pruning import PruneReport, PruningConfig
from espnet_kd.tasks.pruning import against_target


@pytest.mark.parametrize(("measure", "reached"), [("params", 0.74), ("macs", 0.6)])
def test_distance_is_that_of_the_measure(measure: str, reached: float) -> None:
    report = PruneReport(parts=[], parameters=(100, 26), macs=(5.0, 2.0))
    found = against_target(report, PruningConfig(target=measure, target_sparsity=0.75))
    assert found["measure"] == measure
    assert found["reached"] == pytest.approx(reached)
    assert found["off_target"] == pytest.approx(0.75 - reached)
    assert found["target"] == 0.75
