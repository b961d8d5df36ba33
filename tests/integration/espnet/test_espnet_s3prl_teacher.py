"""Teachers by the name of an S3PRL upstream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from children import Outcome

pytestmark = pytest.mark.integration


class Foreign(torch.nn.Module):
    """An upstream as S3PRL has them: a list of waves in, a dict of hidden states out."""

    def __init__(self, ckpt: str | None = None) -> None:
        super().__init__()
        from espnet_kd import load_model

        self.inside = load_model(ckpt)

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        lengths = torch.tensor([len(wave) for wave in wavs])
        padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        output = self.inside(padded, lengths)
        return {"hidden_states": [output.layer_input, *output.layer_outputs]}


class Spectrogram(torch.nn.Module):
    """An upstream without layers."""

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        return {"hidden_states": [torch.zeros(len(wavs), len(wavs[0]) // 160, 80)]}


def hub_with_ours() -> None:
    """S3PRL's hub without its long import, with foreign names of the test's own."""
    from s3prl_upstreams.quick_hub import provide_hub

    hub = provide_hub()
    hub.foreign_local = Foreign
    hub.spectrogram = Spectrogram


STAR = ("--kd_conf", {"objectives": {"temporal_relation": {}}})


def test_upstream_of_ours_is_opened_and_masked(
    train: Callable[..., Outcome], teacher: Path, tmp_path: Path
) -> None:
    named = train(tmp_path / "a", "--teacher", f"s3prl:kd_student:{teacher}", before=hub_with_ours)
    assert named.code == 0, named.output
    assert train(tmp_path / "b").code == 0
    ours, direct = (torch.load(tmp_path / x / "2epoch.pth", weights_only=False) for x in "ab")
    assert all(torch.equal(ours[name], direct[name]) for name in direct)


def test_foreign_upstream_teaches_relations(
    train: Callable[..., Outcome], teacher: Path, tmp_path: Path
) -> None:
    name = f"s3prl:foreign_local:{teacher}"
    outcome = train(tmp_path / "a", "--teacher", name, *STAR, before=hub_with_ours)
    assert outcome.code == 0, outcome.output
    assert train(tmp_path / "b", *STAR).code == 0
    foreign, direct = (torch.load(tmp_path / x / "2epoch.pth", weights_only=False) for x in "ab")
    assert all(torch.allclose(foreign[name], direct[name], atol=1e-5) for name in direct)


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("foreign_local:{teacher}", (), "cannot be given a masked input"),
        ("foreign_local:/nowhere", STAR, "S3PRL could not build upstream foreign_local"),
        ("spectrogram", STAR, "shows 1 hidden state(s)"),
    ],
)
def test_upstreams_that_cannot_teach(
    train: Callable[..., Outcome],
    teacher: Path,
    tmp_path: Path,
    name: str,
    extra: tuple,
    message: str,
) -> None:
    source = "s3prl:" + name.format(teacher=teacher)
    outcome = train(tmp_path / "exp", "--teacher", source, *extra, before=hub_with_ours)
    assert outcome.code == 1
    assert message in outcome.output
    assert "Traceback" not in outcome.output
