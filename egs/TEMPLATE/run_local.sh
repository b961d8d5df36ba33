#!/usr/bin/env bash
# Runs a command on this machine, with a log file, possibly as an array of jobs.
#
#   run_local.sh [--gpu N] [--mem 4G] [--num_threads N] [--max-jobs-run N] [JOB=1:N] LOG COMMAND...
#
# JOB in LOG and COMMAND is replaced by the job's number. --gpu, --mem and other options with a
# value are accepted for cluster scripts' sake and ignored. With the variable "watch" set to a
# regular expression, matching lines of the log also go to the terminal, edited by the sed program
# in "watch_edit". All jobs are run, even if one fails; the exit status is the command's, or 1 if
# some of several jobs failed.
set -euo pipefail

usage() {
    echo "run_local.sh: $1" >&2
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
}

run_job() { # NUMBER COMMAND...
    local number=$1 log=$log_pattern argument code output child="" reader="" stopping=""
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
        ((${#command[@]} == 1)) || printf ' %q' "${command[@]:1}"
        printf '\n# started %s\n' "$(date '+%F %T')"
    } >"$log"
    if [ -n "${watch:-}" ]; then
        exec {output}> >(tee -a "$log" | { grep --line-buffered -E "$watch" |
            sed -u -E "${watch_edit:-}" >&2 || true; })
        reader=$!
    else
        exec {output}>>"$log"
    fi
    # In the background, because a waiting shell acts on signals at once; the command gets them.
    trap 'stopping=1; [ -z "$child" ] || kill "$child" 2>/dev/null || true' TERM
    "${command[@]}" >&"$output" 2>&1 {output}>&- &
    child=$!
    exec {output}>&-
    [ -z "$stopping" ] || kill "$child" 2>/dev/null || true
    code=0
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do
        code=0
        wait "$child" || code=$?
    done
    [ -z "$reader" ] || wait "$reader" || true
    echo "# ended (code $code) $(date '+%F %T')" >>"$log"
    echo "$code" >"$codes/$number"
    if ((code)); then
        {
            echo "run_local.sh: failed with code $code, the end of $log:"
            grep -v '^# ended' "$log" | tail -n 8 | sed 's/^/    /' || true
        } >&2
    fi
}

stop() {
    local pids
    mapfile -t pids < <(jobs -p)
    kill "${pids[@]}" 2>/dev/null || true
    wait || true
    exit "$1"
}

# bash reads a script while it runs it. All that runs is in here, so the file may be changed or
# replaced meanwhile (it ends with exit: nothing after the last line is ever read).
main() {
    first=1 last=1 name=""
    max_jobs=$(nproc 2>/dev/null || echo 2)
    threads=${OMP_NUM_THREADS:-1}
    while [ $# -gt 0 ]; do
        case "$1" in
            --num_threads | --num-threads)
                threads=${2:-}
                shift $(($# > 1 ? 2 : 1))
                ;;
            --max-jobs-run | --max_jobs_run)
                max_jobs=${2:-}
                shift $(($# > 1 ? 2 : 1))
                ;;
            --*) shift $(($# > 1 ? 2 : 1)) ;;
            [A-Za-z]*=[0-9]*)
                [[ $1 =~ ^([A-Za-z_]+)=([1-9][0-9]*)(:([1-9][0-9]*))?$ ]] ||
                    usage "$1 is no job range"
                name=${BASH_REMATCH[1]} first=${BASH_REMATCH[2]}
                last=${BASH_REMATCH[4]:-$first}
                shift
                ;;
            *) break ;;
        esac
    done
    [ $# -ge 2 ] || usage "a log file and a command are needed"
    [[ $threads =~ ^[1-9][0-9]*$ ]] || usage "--num_threads '$threads' is no number"
    [[ $max_jobs =~ ^[1-9][0-9]*$ ]] || usage "--max-jobs-run '$max_jobs' is no number"
    ((first <= last)) || usage "the job range $first:$last is empty"
    log_pattern=$1
    shift
    export OMP_NUM_THREADS=$threads

    codes=$(mktemp -d) # one file per ended job, holding its exit status
    trap 'rm -rf "$codes"' EXIT

    trap 'stop 130' INT
    trap 'stop 143' TERM

    for ((job = first; job <= last; job++)); do
        while (($(jobs -pr | wc -l) >= max_jobs)); do
            wait -n || true
        done
        (trap - INT EXIT; run_job "$job" "$@") &
    done
    wait || true

    failed=()
    for ((job = first; job <= last; job++)); do
        code=$(cat "$codes/$job" 2>/dev/null || echo 137) # no file: the job itself was killed
        ((code == 0)) || failed+=("$job")
    done
    ((${#failed[@]})) || exit 0
    ((first < last)) || exit "$code"
    echo "run_local.sh: ${#failed[@]} of $((last - first + 1)) jobs failed: ${failed[*]}" >&2
    exit 1
}

main "$@"
