from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from s3prl_upstreams import describe_upstream


class Upstream(torch.nn.Module):
    def forward(self, waves):
        return {"hidden_states": [torch.zeros(len(waves), 49, 8)] * 3}

    def get_downsample_rates(self, _):
        return 320


def stock(ckpt, **_):
    assert ckpt is not None
    return Upstream()


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    found = SimpleNamespace(stock=stock, options=lambda: ["stock"])
    monkeypatch.setattr(describe_upstream, "provide_hub", lambda: found)
    monkeypatch.setattr(describe_upstream.mends, "BEFORE_IMPORT", [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-u stok", "there is no upstream 'stok'; did you mean stock?"),
        ("-u stock", "S3PRL cannot build upstream stock with -k None and -g None (AssertionError"),
        ("-u stock -k x --json {file}/x.json", "cannot write {file}/x.json"),
    ],
)
def test_problems_are_one_message(tmp_path, capsys, words, message):
    (tmp_path / "file").touch()
    arguments = words.format(file=tmp_path / "file").split()
    assert describe_upstream.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"describe_upstream: {message.format(file=tmp_path / 'file')}")
    assert said.count("\n") == 1


def test_what_it_says(tmp_path, capsys):
    file = tmp_path / "x.json"
    assert describe_upstream.main(["-u", "stock", "-k", "x", "--json", str(file)]) == 0
    assert '"layers": 3, "channels": 8, "frames": 49' in capsys.readouterr().out
    assert '"upstream": "stock"' in file.read_text()
