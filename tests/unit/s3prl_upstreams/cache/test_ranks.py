"""Two processes of one run compute a share of the waves each, and then have all."""

from __future__ import annotations

import json

import torch
from torch import distributed, multiprocessing

from s3prl_upstreams.cache.exact import Selection
from s3prl_upstreams.cache.isolated import IsolatedUpstream
from s3prl_upstreams.cache.keys import wave_key
from s3prl_upstreams.cache.shards import ShardFolder
from s3prl_upstreams.cache.store import FeatureStore
from tests.unit.s3prl_upstreams.cache.toy import Toy, waves

SIZES = tuple(range(20, 220, 10))


def fill(rank, folder, rendezvous, on_disk):
    distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    disk = ShardFolder(folder / "cache" / "upstream", 10**6) if on_disk else None
    store = FeatureStore(disk, 0 if on_disk else 10**6)
    upstream = IsolatedUpstream(Toy(), Selection("hidden_states", 10), store).eval()
    wavs = waves(*SIZES)
    with torch.no_grad():
        upstream.fill(wavs)
        upstream.meet()
    told = {"computed": upstream.tally.filled, "has": [wave_key(wav) in store for wav in wavs]}
    (folder / f"{rank}.json").write_text(json.dumps(told))
    distributed.destroy_process_group()


def of_two(tmp_path, on_disk):
    args = (tmp_path, tmp_path / "rendezvous", on_disk)
    multiprocessing.spawn(fill, args, nprocs=2)
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_shares_are_computed_once_and_found_by_all(tmp_path):
    first, second = of_two(tmp_path, on_disk=True)
    assert first["computed"] + second["computed"] == len(SIZES)
    assert min(first["computed"], second["computed"]) > 0
    assert all(first["has"])
    assert all(second["has"])


def test_without_files_in_common_each_computes_all(tmp_path):
    for told in of_two(tmp_path, on_disk=False):
        assert told["computed"] == len(SIZES)
        assert all(told["has"])
