from __future__ import annotations

import sys
from types import ModuleType

import pytest

from espnet_kd.errors import CheckpointError
from s3prl_upstreams.locate import locate


@pytest.fixture
def cache(monkeypatch):
    """S3PRL's download cache, recording what it is asked for."""
    calls = []

    def download(*urls, refresh):
        calls.append((urls, refresh))
        if "gone" in urls[0]:
            raise OSError("404")
        return f"/cache/{urls[0].rpartition('/')[2]}"

    module = ModuleType("s3prl.util.download")
    module._urls_to_filepaths = download
    monkeypatch.setitem(sys.modules, "s3prl", ModuleType("s3prl"))
    monkeypatch.setitem(sys.modules, "s3prl.util", ModuleType("s3prl.util"))
    monkeypatch.setitem(sys.modules, "s3prl.util.download", module)
    return calls


def test_a_path_stays(tmp_path):
    assert locate("kd_student", str(tmp_path)) == str(tmp_path)
    assert locate("kd_student_local", str(tmp_path), form="_local") == str(tmp_path)


def test_a_url_goes_through_s3prls_cache(cache):
    url = "https://host/student.ckpt"
    assert locate("armhubert_url", url, form="_url", refresh=True) == "/cache/student.ckpt"
    assert cache == [((url,), True)]


@pytest.mark.parametrize(
    ("place", "form", "message"),
    [
        ("/nowhere/model", "", "/nowhere/model is not there"),
        ("https://host/a", "_local", "drop '_local'"),
        ("/nowhere/model", "_url", "drop '_url'"),
        ("https://host/gone.ckpt", "", "cannot download https://host/gone.ckpt: 404"),
    ],
)
def test_wrong_places_are_named(cache, place, form, message):
    with pytest.raises(CheckpointError, match=message):
        locate("armhubert", place, form=form)
