#!/usr/bin/env bash
# Runs a command on this machine, with a log file, possibly as an array of jobs.
#
#   run_local.sh [--gpu N] [--mem 4G] [--num_threads N] [--max-jobs-run N] [JOB=1:N] LOG COMMAND...
#
# JOB in LOG and COMMAND is replaced by the job's number. --gpu, --mem are accepted for cluster
# scripts' sake and ignored. With the variable "watch" set to a regular expression, matching
# lines of the log also go to the terminal. The exit status is 0 if all jobs succeeded.
set -euo pipefail

first=1 last=1 name=""
max_jobs=$(nproc 2>/dev/null || echo 2)
threads=${OMP_NUM_THREADS:-1}
while [ $# -gt 0 ]; do
    case "$1" in
        --num_threads | --num-threads)
            threads=$2
            shift 2
            ;;
        --max-jobs-run | --max_jobs_run)
            max_jobs=$2
            shift 2
            ;;
        --*)
            shift 2
            ;;
        *=*:*)
            name=${1%%=*} range=${1#*=}
            first=${range%%:*} last=${range##*:}
            shift
            ;;
        *) break ;;
    esac
done
if [ $# -lt 2 ]; then
    echo "usage: run_local.sh [options] [JOB=1:N] LOG COMMAND..." >&2
    exit 2
fi
log_pattern=$1
shift
export OMP_NUM_THREADS=$threads

run_job() {
    local number=$1 log=$log_pattern argument code=0
    shift
    local command=("$@")
    if [ -n "$name" ]; then
        log=${log_pattern//$name/$number}
        command=()
        for argument in "$@"; do command+=("${argument//$name/$number}"); done
    fi
    mkdir -p "$(dirname "$log")"
    {
        printf '# %q' "${command[0]}"
        printf ' %q' "${command[@]:1}"
        printf '\n# started %s\n' "$(date '+%F %T')"
    } >"$log"
    if [ -n "${watch:-}" ]; then
        { "${command[@]}" 2>&1 || echo "$?" >"$log.code"; } | tee -a "$log" |
            { grep --line-buffered -E "$watch" >&2 || true; }
        if [ -s "$log.code" ]; then code=$(cat "$log.code"); fi
        rm -f "$log.code"
    else
        "${command[@]}" >>"$log" 2>&1 || code=$?
    fi
    echo "# ended (code $code) $(date '+%F %T')" >>"$log"
    if [ "$code" -ne 0 ]; then
        {
            echo "run_local.sh: failed with code $code, the end of $log:"
            grep -v '^# ended' "$log" | tail -n 8 | sed 's/^/    /'
        } >&2
    fi
    return "$code"
}

pids=()
failed=0
for ((job = first; job <= last; job++)); do
    while (($(jobs -pr | wc -l) >= max_jobs)); do
        wait -n || failed=1
    done
    run_job "$job" "$@" &
    pids+=($!)
done
trap 'kill "${pids[@]}" 2>/dev/null || true; exit 143' INT TERM
for pid in "${pids[@]}"; do
    wait "$pid" 2>/dev/null || failed=$?
done
exit "$failed"
