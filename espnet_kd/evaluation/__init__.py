"""Scores, profiles and reports: how good a model is and what it costs.

Rooms of this floor: ``parameters``, ``macs``, ``timing``, ``memory`` (costs), ``wer`` (scores),
``runs`` (the run JSON), ``curves``, ``plots``, ``results``, ``html`` (the report); ``superb`` (the
benchmark's ten tasks summed up, among the published ones).
"""
