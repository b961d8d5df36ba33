"""Our models as S3PRL upstreams: ``run_downstream -u armhubert -k DIR``, ``s3prl.hub.armhubert``.

Importing this package makes the names known to S3PRL, now or as soon as ``s3prl.hub`` is
imported; it imports neither S3PRL nor torch itself.
"""

from __future__ import annotations

from s3prl_upstreams.hub import names, register

__all__ = ["names", "register"]

register()
