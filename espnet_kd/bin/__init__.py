"""Command-line entry points: ``python -m espnet_kd.bin.<name>``."""
