from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from s3prl_upstreams import install_hook, remove_hook

ROOT = Path(__file__).resolve().parents[3]


def start_python(folder, path, code):
    """Start Python as if ``folder`` were its site-packages."""
    code = f"import site; site.addsitedir({str(folder)!r}); {code}"
    environment = {"PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr.strip()


def test_install_and_remove(tmp_path, capsys):
    words = ["--folder", str(tmp_path)]
    assert install_hook.main(words) == 0
    assert install_hook.main(words) == 0, "again is fine"
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".pth"
    assert path.read_text().count("\n") == 1, "site reads one line"
    assert remove_hook.main(words) == 0
    assert not path.exists()
    assert remove_hook.main(words) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_default_is_this_environment_and_it_is_off():
    path = install_hook.hook_path()
    assert path.parent == Path(sysconfig.get_path("purelib"))
    assert str(path.parent) in [*site.getsitepackages(), site.getusersitepackages()]


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    assert install_hook.main(["--folder", "/proc/self"]) == 1
    assert "install_hook: cannot write" in capsys.readouterr().err
    assert install_hook.main(["--folder", str(tmp_path / "site")]) == 1
    assert "site is no folder" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("path", "code"), [(None, 1), (str(ROOT), 0)])
def test_a_package_that_only_this_folder_has(tmp_path, monkeypatch, capsys, path, code):
    venv.create(tmp_path / "venv", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.setattr(install_hook, "hook_path", lambda _: tmp_path / "hook.pth")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    assert install_hook.main([]) == code
    assert (tmp_path / "hook.pth").exists() == (code == 0)
    assert ("install the package first" in capsys.readouterr().err) == (code == 1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "site").mkdir()
    install_hook.install(tmp_path / "site")
    package = tmp_path / "fake" / "s3prl"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "hub.py").write_text("def options(): return sorted(globals())\n")
    return tmp_path


def test_pythons_start_stays_light(folder):
    code = "import sys; print([m for m in ('torch', 's3prl', 'numpy') if m in sys.modules])"
    assert start_python(folder / "site", ROOT, code) == ("[]", "")


def test_stock_code_sees_our_names(folder):
    path = f"{ROOT}:{folder / 'fake'}"
    code = "import s3prl.hub as h; print('armhubert' in h.options(), h.kd_student_url.__name__)"
    assert start_python(folder / "site", path, code) == ("True kd_student_url", "")


def test_the_hook_leaves_once_it_was_used(folder):
    find = "[f for f in sys.meta_path if 'espnet_kd' in type(f).__module__]"
    code = f"import sys; before = len({find}); import s3prl.hub; print(before, len({find}))"
    out = start_python(folder / "site", f"{ROOT}:{folder / 'fake'}", code)
    assert out == ("1 0", "")


def test_a_clash_is_told_and_breaks_nothing(folder):
    hub = folder / "fake" / "s3prl" / "hub.py"
    hub.write_text(hub.read_text() + "def armhubert(): return 'theirs'\n")
    code = "import s3prl.hub as h; print(h.armhubert(), hasattr(h, 'kd_student'))"
    out, err = start_python(folder / "site", f"{ROOT}:{folder / 'fake'}", code)
    assert out == "theirs False"
    assert "'armhubert'" in err
    assert err.count("not registered") == 1


def test_a_hook_without_the_package_is_silent():
    code = f"import sys; sys.modules['s3prl_upstreams'] = None\n{install_hook.LINE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
