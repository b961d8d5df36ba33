"""Profiles: published parameter counts, time and memory of a tiny model, the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from espnet_kd.bin import profile as command
from espnet_kd.encoder import LayerConfig, SpeechEncoder, SpeechEncoderConfig
from espnet_kd.encoder.architectures import architecture
from espnet_kd.errors import KDError
from espnet_kd.evaluation import memory, profile, timing
from espnet_kd.evaluation.macs import meta_encoder
from espnet_kd.evaluation.models import find_model
from espnet_kd.evaluation.parameters import count_by_part, parameter_summary

# Total and without heads, as published or counted on the reference implementations.
COUNTS = {
    "armhubert": (26_448_448, 22_015_552),
    "armhubert_s": (22_394_080, 18_403_552),
    "maskhubert": (26_635_840, 22_202_944),
    "starhubert": (22_308_592, 22_308_592),
    "hubert_base": (94_371_712, 94_371_712),
}


@pytest.fixture
def tiny() -> SpeechEncoder:
    """A model of a few hundred parameters."""
    return SpeechEncoder.from_config(
        SpeechEncoderConfig(
            conv_layers=[[8, 10, 5], [8, 3, 2]],
            embed_dim=8,
            pos_conv_kernel=4,
            pos_conv_groups=2,
            layers=[LayerConfig(num_heads=2, head_dim=4, ffn_dim=16)],
            head_dim=6,
            hidden_states="heads",
        )
    )


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name: str) -> None:
    counts = parameter_summary(meta_encoder(architecture(name)))
    assert (counts["total"], counts["without_heads"]) == COUNTS[name]
    assert sum(counts["parts"].values()) == counts["total"]


def test_parts_of_armhubert() -> None:
    parts = count_by_part(meta_encoder(architecture("armhubert")))
    assert parts == {
        "front end": 1_865_216,
        "projection": 960,
        "positional conv": 1_843_808,
        "layers": 6 * (1_756_224 + 1_294_464) + 960,
        "heads": 12 * 369_408,
        "other": 480,
    }


def test_real_time_factor_restores_threads(tiny: SpeechEncoder) -> None:
    threads = torch.get_num_threads()
    measured = timing.real_time_factor(tiny.train(), seconds=0.5, batch=2, runs=3, threads=1)
    assert torch.get_num_threads() == threads
    assert not tiny.training
    assert (measured["runs"], measured["threads"], measured["batch"]) == (3, 1, 2)
    assert measured["rtf_cpu"] == measured["cpu_seconds"]  # 2 × 0.5 s are one second of speech
    assert 0 < measured["wall_seconds_min"] <= measured["wall_seconds"]


def test_measure_alternates() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = timing.measure(works, runs=2, warmup=1)
    assert "".join(calls) == "ababab"
    assert len(timings["a"].cpu_seconds) == 2


def test_noise_is_repeatable() -> None:
    assert torch.equal(timing.noise(2, 0.1), timing.noise(2, 0.1))
    assert timing.noise(2, 0.1).shape == (2, 1600)


def test_memory_of_a_fresh_process() -> None:
    # This module's own size must not show in the other process' peak.
    ballast = torch.ones(300 * memory.MIB // 4)
    measured = memory.peak_memory("armhubert_s", seconds=1.0)
    assert 0 < measured["before_mib"] <= measured["peak_mib"]
    assert ballast.sum() > 0
    assert memory.peak_rss_mib() > 300


def test_failing_measurement_shows_why() -> None:
    with pytest.raises(KDError, match="no such checkpoint"):
        memory.run_fresh("espnet_kd.evaluation.memory", "gone", "1", "1", "1")


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(KDError, match="armhubert, .*hubert_base"):
        find_model("armhuber")


def test_impossible_sizes_are_reported_together() -> None:
    with pytest.raises(KDError) as caught:
        profile.profile("armhubert", seconds=0, runs=-1)
    assert "seconds: 0" in str(caught.value)
    assert "runs: -1" in str(caught.value)
    with pytest.raises(KDError, match="too short"):
        profile.profile("armhubert", seconds=0.01)


def test_numbers_and_devices_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wrong = {
        "--seconds=nan": "seconds: nan must be",
        "--seconds=inf": "seconds: inf must be",
        "--device=foo": "device: 'foo' is neither cpu nor cuda",
        "--device=cuda": r"cuda is not there, torch finds 0 GPU\(s\)",
        "--device=cuda:9": "cuda:9 is not there",
    }
    for option, said in wrong.items():
        with pytest.raises(SystemExit, match=said):
            command.main(["--architecture", "armhubert_s", option])
    counted = profile.profile("armhubert_s", device="cuda", timing=False)
    assert counted["macs"]["total"] > 0, "counting needs no GPU"


def test_command(
    tmp_path: Path,
    tiny: SpeechEncoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(profile, "find_model", lambda model: tiny.eval())
    monkeypatch.setattr(
        profile, "peak_memory", lambda model, **_: {"peak_mib": 200.0, "before_mib": 150.0}
    )
    out = tmp_path / "profile.json"
    command.main(["some/dir", "--seconds", "1", "--runs", "2", "--superb", "--json", str(out)])
    table = capsys.readouterr().out
    for part in (
        "some/dir",
        "without heads",
        "MACs, 1 s",
        "MACs, SUPERB",
        "RTF, 1 × 1 s",
        "200 MiB",
    ):
        assert part in table
    written = json.loads(out.read_text())
    assert written["parameters"]["total"] == sum(p.numel() for p in tiny.parameters())
    assert set(written) == {"model", "parameters", "macs", "superb_macs", "time", "memory"}


def test_command_counts_an_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--architecture", "armhubert_s", "--no_timing", "--seconds", "4"])
    table = capsys.readouterr().out
    assert "22,394,080" in table
    assert "7.525 G" in table
    assert "RTF" not in table


def test_command_ends_with_one_message() -> None:
    with pytest.raises(SystemExit, match=r"espnet_kd\.bin\.profile: gone: no such checkpoint"):
        command.main(["gone"])
