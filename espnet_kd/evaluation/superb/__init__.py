"""SUPERB's ten tasks summed up: the published scores, a model's place among them, its costs.

``metrics`` (the eleven numbers) and ``scores`` (a model's record, *overall*, *superb_s*);
``models`` (a table's row; RESULTS.json), ``published`` (rows of papers and leaderboard),
``experiments`` (folders of S3PRL runs), ``costs`` (parameters, MACs); ``table`` and ``report``.
"""

from __future__ import annotations

from espnet_kd.evaluation.superb.scores import Scores, overall, superb_s

__all__ = ["Scores", "overall", "superb_s"]
