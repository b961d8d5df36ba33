"""Tests that share expensive imports and fixtures run in one worker."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("toolkits")
def test_workers_know_the_groups(request: pytest.FixtureRequest) -> None:
    """pytest-xdist writes the group behind the test's name; where it cannot, it tells nobody."""
    if request.config.getoption("dist", "no") != "loadgroup":
        pytest.skip("this run has no workers with groups (-n 2 --dist loadgroup)")
    assert request.node.nodeid.endswith("@toolkits")
