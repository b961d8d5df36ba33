from __future__ import annotations

import importlib.util
import sys

import pytest

from s3prl_upstreams import quick_hub
from s3prl_upstreams.hub import names

REAL = """
import sys
loaded = True
espnet = sys.modules.get("espnet2.tasks.hubert", "importable")
def fbank(**kwargs): return "fbank"
def espnet_hubert_local(**kwargs): return espnet
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An ``s3prl`` whose hub says when it is executed."""
    folder = tmp_path / "s3prl"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "hub.py").write_text(REAL)
    for name in [n for n in sys.modules if n == "s3prl" or n.startswith("s3prl.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "espnet2.tasks.hubert", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n == "s3prl" or n.startswith("s3prl.")]:
        del sys.modules[name]


def test_our_names_do_not_load_the_hub(package):
    hub = quick_hub.provide_hub()
    from s3prl import hub as imported

    assert imported is hub
    assert all(hasattr(hub, name) for name in names())
    assert "loaded" not in vars(hub)


def test_any_other_name_turns_it_into_the_real_hub(package):
    hub = quick_hub.provide_hub()
    assert hub.fbank() == "fbank"
    assert hub.loaded
    assert sys.modules["s3prl.hub"] is hub
    assert hub.armhubert.__module__ == "s3prl_upstreams.hub"
    assert not hasattr(hub, "no_such_upstream")
    assert hub.espnet is None, "ESPnet's task is not imported for others' sake"
    assert "espnet2.tasks.hubert" not in sys.modules, "and can be imported afterwards"


def test_upstreams_made_of_espnet_get_it(package):
    assert quick_hub.provide_hub().espnet_hubert_local() == "importable"


def test_a_hub_that_fails_can_be_tried_again(package):
    (package / "hub.py").write_text("raise ImportError('no librosa')")
    hub = quick_hub.provide_hub()
    with pytest.raises(ImportError, match="no librosa"):
        _ = hub.fbank
    assert hub.armhubert


def test_the_slow_way_and_an_imported_hub(package):
    hub = quick_hub.provide_hub(quick=False)
    assert hub.loaded
    assert quick_hub.provide_hub() is hub
    assert hub.kd_student


def test_a_module_that_is_imported_already_is_not_hidden():
    assert importlib.util.find_spec("json")
    with quick_hub.without("json"):
        import json

        assert json.loads("1") == 1
