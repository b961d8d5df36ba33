#!/usr/bin/env bash
# Build a virtual environment from requirements.lock and install this checkout into it.
# Usage: .ci/setup_venv.sh VENV_DIR        (PYTHON=/path/to/python3.11 chooses the interpreter)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:?usage: .ci/setup_venv.sh VENV_DIR}
# Nothing of the environment that is about to be built anew may build it (make has it in PATH).
export PATH=${PATH//"$PWD/${venv}/bin:"/}

# A pyenv shim may exist for a version that is not active: ask each candidate what it is.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python "${HOME:-}"/.pyenv/versions/3.11.*/bin/python; do
        if [ -n "${candidate}" ] && "${candidate}" -c \
            'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
            "${candidate}" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "setup: Python 3.11 was not found; install it or say PYTHON=/path/to/python3.11" >&2
    return 1
}

# pip refuses one of ESPnet's dependencies (ci_sdr), so uv installs; fetch it where it is absent.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        command -v uv
    elif [ -x .uv/bin/uv ] && .uv/bin/uv --version >/dev/null 2>&1; then
        echo .uv/bin/uv
    elif "${python}" -m venv .uv >&2 && .uv/bin/python -m pip install -q uv >&2; then
        echo .uv/bin/uv
    else
        echo "setup: could not fetch uv; install it (pip install uv) and try again" >&2
        return 1
    fi
}

# uv does not read pip's settings: hand on an index and a certificate chosen there.
pip_setting() {
    "${python}" -m pip config list 2>/dev/null | sed -n "s/^.*\.$1='\(.*\)'\$/\1/p" | tail -n 1
}

use_pip_settings() {
    local index cert
    index=$(pip_setting index-url || true)
    cert=$(pip_setting cert || true)
    if [ -n "${index}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        export UV_DEFAULT_INDEX=${index}
    fi
    if [ -n "${cert}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
        export SSL_CERT_FILE=${cert}
    fi
}

python=$(find_python)
use_pip_settings
uv=$(find_uv)
echo "setup: ${python}, $("${uv}" --version), into ${venv}"
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
"${uv}" venv --quiet --clear --no-project --python "${python}" "${venv}"
export VIRTUAL_ENV=$PWD/${venv}
"${uv}" pip install --quiet -r requirements.lock
"${uv}" pip install --quiet --no-deps --no-build-isolation -e .
"${venv}/bin/python" -c 'import espnet_kd; print("setup: espnet_kd", espnet_kd.__version__, "is ready")'
