"""Names in s3prl.hub, on a stand-in for that module."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from espnet_kd.errors import KDError
from s3prl_upstreams import hub as ours

NAMES = ["armhubert", "maskhubert", "starhubert", "armwavlm", "dphubert", "dpwavlm", "kd_student"]


@pytest.fixture
def fake_hub(monkeypatch):
    module = ModuleType("s3prl.hub")
    module.fbank = lambda **_: None
    monkeypatch.setitem(sys.modules, "s3prl.hub", module)
    return module


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", "_local", "_url", "_custom"])
def test_every_name_becomes_an_attribute(fake_hub, name, suffix):
    ours.register()
    entry = vars(fake_hub)[name + suffix]
    assert callable(entry)
    assert entry.__name__ == name + suffix


def test_only_entries_become_public(fake_hub):
    before = set(vars(fake_hub))
    ours.register()
    assert set(vars(fake_hub)) - before == set(ours.names())


def test_twice_is_once(fake_hub):
    ours.register()
    first = dict(vars(fake_hub))
    ours.register()
    assert vars(fake_hub) == first


def test_a_reloaded_package_is_no_stranger(fake_hub):
    ours.register()
    importlib.reload(ours).register()
    assert fake_hub.armhubert.__module__ == ours.__name__


def test_a_foreign_holder_is_named_and_kept(fake_hub):
    def armhubert():
        pass

    armhubert.__module__ = "s3prl.upstream.armhubert.hubconf"
    fake_hub.armhubert = armhubert
    with pytest.raises(KDError, match=r"(?s)s3prl\.upstream\.armhubert.*s3prl_upstreams\.hub"):
        ours.register()
    assert fake_hub.armhubert is armhubert
    assert not hasattr(fake_hub, "kd_student"), "all names or none"


def test_a_clash_never_breaks_the_import_of_the_hub(fake_hub, capsys):
    fake_hub.kd_student = print
    ours._add_names_quietly(fake_hub)
    assert "kd_student" in capsys.readouterr().err


@pytest.mark.parametrize("ckpt", [None, ""])
def test_without_checkpoint_the_error_says_what_k_takes(ckpt):
    with pytest.raises(KDError, match=r"(?s)-k takes.*config\.json.*\.ckpt"):
        ours._ENTRIES["armhubert"](ckpt=ckpt, refresh=False)


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_registration_imports_nothing_heavy():
    code = (
        "import sys, s3prl_upstreams; s3prl_upstreams.register();"
        "print([m for m in ('torch', 's3prl', 's3prl_upstreams.expert') if m in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_a_hub_imported_later_gets_the_names(tmp_path):
    package = tmp_path / "s3prl"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "hub.py").write_text("def options(): return list(globals())\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import s3prl_upstreams;"
        "import s3prl.hub; print('armhubert_local' in s3prl.hub.options())"
    )
    assert run_python(code) == "True"
