# Finds the Python to use and the source tree; every recipe's path.sh sources this file.
# The interpreter: --python, else the .venv of `make setup`, else the active python3.

MAIN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export MAIN_ROOT

kd_has_packages() {
    "$1" -c 'import importlib.util as u, sys
sys.exit(any(u.find_spec(m) is None for m in ("torch", "espnet2", "s3prl")))' >/dev/null 2>&1
}

if [ -z "${python:-}" ]; then
    for kd_candidate in "$MAIN_ROOT/.venv/bin/python" python3 python; do
        if command -v "$kd_candidate" >/dev/null 2>&1 && kd_has_packages "$kd_candidate"; then
            python=$kd_candidate
            break
        fi
    done
    if [ -z "${python:-}" ]; then
        echo "no Python with torch, espnet and s3prl: run 'make setup' in $MAIN_ROOT" >&2
        exit 1
    fi
elif ! kd_has_packages "$python"; then
    echo "--python $python has not torch, espnet and s3prl: run 'make setup' in $MAIN_ROOT" >&2
    exit 1
fi

export PYTHONPATH="$MAIN_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$MAIN_ROOT/egs/TEMPLATE:$PATH"
export PYTHONIOENCODING=UTF-8
export LC_ALL=C
# One thread per process: the processes are what is run in parallel.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export MPLBACKEND=${MPLBACKEND:-Agg}
export TOKENIZERS_PARALLELISM=false
