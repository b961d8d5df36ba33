"""Undo ``install_hook``: ``python -m s3prl_upstreams.remove_hook``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espnet_kd.errors import KDError
from s3prl_upstreams.install_hook import folder_option, hook_path, remove


def main(argv: Sequence[str] | None = None) -> int:
    """Remove; 0 = it is not there any more, 1 = a problem that is on stderr."""
    folder = folder_option("remove_hook", argv)
    try:
        path = remove(folder)
    except KDError as error:
        print(f"remove_hook: {error}", file=sys.stderr)
        return 1
    print(f"{path} removed" if path else f"nothing to do: {hook_path(folder)} is not there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
