"""Make S3PRL's own commands know our upstreams: ``python -m s3prl_upstreams.install_hook``.

Writes one ``.pth`` line into this environment. Every Python started in it then puts our names into
``s3prl.hub`` when, and only when, that module is imported, so that the unmodified
``python -m s3prl.run_downstream -u armhubert`` works, also from a git checkout of S3PRL. The hook
only registers names; what is broken in S3PRL stays so (see ``s3prl_upstreams.run_downstream``).
``python -m s3prl_upstreams.remove_hook`` takes it out again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from espnet_kd.errors import KDError
from espnet_kd.utils.files import write_text

# Files are read in alphabetical order: an editable install's own file must come before this one.
FILE = "zz_espnet_kd_s3prl.pth"
"""Name of the file in the environment's ``site-packages``."""

LINE = (
    "import sys; exec('try:\\n import s3prl_upstreams\\nexcept ImportError:\\n pass\\n"
    'except Exception as e:\\n print("[espnet_kd] S3PRL hook:", e, file=sys.stderr)\')\n'
)
"""Its content; harmless when the package is gone."""


def hook_path(folder: str | Path | None = None) -> Path:
    """Return where the hook lies in ``folder``, by default this environment's site-packages."""
    return Path(folder or sysconfig.get_path("purelib")) / FILE


def install(folder: str | Path | None = None) -> Path:
    """Write the hook (again) and return its path.

    Raises:
        KDError: the folder is not there or cannot be written to, or this environment lacks the
            package that the hook imports.
    """
    path = hook_path(folder)
    if not path.parent.is_dir():
        raise KDError(f"{path.parent} is no folder; give the site-packages of an environment")
    if folder is None and not _is_found_anywhere():
        raise KDError(
            "Python finds s3prl_upstreams in this folder only, so that the hook would do nothing; "
            "install the package first (pip install -e .)"
        )
    write_text(path, LINE)
    return path


def _is_found_anywhere() -> bool:
    """Whether Python started in another folder than this one has the package."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('s3prl_upstreams') is None)"
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, check=False)
    return done.returncode == 0


def remove(folder: str | Path | None = None) -> Path | None:
    """Delete the hook; return its path, or None if it was not there.

    Raises:
        KDError: the file cannot be deleted.
    """
    path = hook_path(folder)
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KDError(f"cannot delete {path}: {error.strerror}; delete it by hand") from error
    return path


def folder_option(prog: str, argv: Sequence[str] | None) -> str | None:
    """Parse the one option of both commands."""
    parser = argparse.ArgumentParser(prog=f"python -m s3prl_upstreams.{prog}")
    parser.add_argument("--folder", help="another site-packages than this environment's")
    folder: str | None = parser.parse_args(argv).folder
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Install; 0 = done, 1 = a problem that is on stderr."""
    try:
        path = install(folder_option("install_hook", argv))
    except KDError as error:
        print(f"install_hook: {error}", file=sys.stderr)
        return 1
    print(f"{path}: S3PRL's own commands know our upstreams from now on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
