"""Build an upstream as a downstream run would, and say what it is.

python -m s3prl_upstreams.describe_upstream -u armhubert -k DIR [--json FILE]
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from typing import Any

from espnet_kd.errors import CheckpointError, KDError
from espnet_kd.utils.files import write_json
from s3prl_upstreams import mends
from s3prl_upstreams.quick_hub import provide_hub

_PROBE = 16000
"""Samples; S3PRL's featurizer looks at one second as well."""


def check_upstream(name: str) -> None:
    """Raise CheckpointError, with close names, unless S3PRL's hub has the upstream."""
    known = provide_hub()
    if hasattr(known, name):
        return
    close = difflib.get_close_matches(name, known.options(), n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise CheckpointError(f"there is no upstream {name!r}{hint}")


def build_upstream(name: str, ckpt: str | None, config: str | None = None) -> Any:
    """Return an upstream in eval mode on the CPU.

    Args:
        name: S3PRL's ``-u``.
        ckpt: its ``-k``.
        config: its ``-g``.

    Raises:
        CheckpointError: no such upstream, or its files are not usable.
    """
    check_upstream(name)
    try:
        return getattr(provide_hub(), name)(ckpt=ckpt, model_config=config, refresh=False).eval()
    except KDError:
        raise
    except Exception as error:  # each of S3PRL's own upstreams fails in its own way
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"S3PRL cannot build upstream {name} with -k {ckpt} and -g {config} "
            f"({type(error).__name__}: {reason}); give the files that it takes"
        ) from error


def describe(upstream: Any) -> dict[str, Any]:
    """Return what a downstream task will see of one second of silence.

    Args:
        upstream: takes a list of 1-D waves and returns a dictionary with ``hidden_states``.

    Returns:
        ``layers``, ``channels``, ``frames`` per second, ``downsample_rate`` in samples per frame,
        and ``parameters`` in all.

    Raises:
        CheckpointError: a layer is not finite.
    """
    import torch

    with torch.no_grad():
        states = upstream([torch.zeros(_PROBE)])["hidden_states"]
    layers = list(states) if isinstance(states, list | tuple) else [states]
    for number, layer in enumerate(layers):
        if not torch.isfinite(layer).all():
            raise CheckpointError(f"layer {number} of the upstream is not finite: broken weights?")
    return {
        "layers": len(layers),
        "channels": layers[-1].size(-1),
        "frames": layers[-1].size(1),
        "downsample_rate": upstream.get_downsample_rates("hidden_states"),
        "parameters": sum(weight.numel() for weight in upstream.parameters()),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a problem that is on stderr."""
    parser = argparse.ArgumentParser(prog="python -m s3prl_upstreams.describe_upstream")
    parser.add_argument("-u", "--upstream", required=True, help="name in S3PRL's hub")
    parser.add_argument("-k", "--ckpt", help="folder or file of its weights")
    parser.add_argument("-g", "--config", help="its configuration, where it needs one")
    parser.add_argument("--json", help="also write it here")
    options = parser.parse_args(argv)
    mends.report(mend() for mend in mends.BEFORE_IMPORT)
    try:
        found = describe(build_upstream(options.upstream, options.ckpt, options.config))
        print(json.dumps(found))
        if options.json:
            write_json(options.json, {"upstream": options.upstream, **found})
    except KDError as error:
        print(f"describe_upstream: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
