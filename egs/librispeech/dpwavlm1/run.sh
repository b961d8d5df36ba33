#!/usr/bin/env bash
# DPWavLM as published: egs/librispeech/dphubert1/run.sh with --student dpwavlm; data and experiments
# lie in this folder. Stages (--stage, --stop_stage), options and costs are explained by --help.
set -euo pipefail
KD_RECIPE=$(cd "$(dirname "$0")" && pwd)
export KD_RECIPE
exec "$KD_RECIPE/../dphubert1/run.sh" --student dpwavlm "$@"
