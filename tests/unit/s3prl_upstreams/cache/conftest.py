"""Students of ours and a store on disk."""

from __future__ import annotations

import pytest

from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.shards import ShardFolder
from s3prl_upstreams.cache.store import FeatureStore
from tests.unit.s3prl_upstreams.cache.toy import make_student


@pytest.fixture(scope="session")
def students(tmp_path_factory):
    """``layer_norm`` and ``group_norm`` students."""
    return {
        norm: make_student(norm, tmp_path_factory.mktemp(norm))
        for norm in ("layer_norm", "group_norm")
    }


@pytest.fixture
def selection():
    return Selection("hidden_states", 10)


@pytest.fixture
def store(tmp_path):
    """Disk alone."""
    store = FeatureStore(ShardFolder(tmp_path / "cache" / "key", 10**9), 0)
    yield store
    store.close()
