# Stage handling, the same in every recipe. Source it after parse_options.sh; it reads
# stage, stop_stage, skip_stages and expdir.
#
#   stages_check 0 8
#   if stage 3 "Distil the student" "4 minutes, 20 MB" "a falling valid loss"; then
#       need data/train/wav.scp 1                     # or: stop, naming the stage that makes it
#       if ! is_done exp/.done_train "${command[@]}"; then
#           "${command[@]}" && mark_done exp/.done_train "${command[@]}"
#       fi
#   fi
#   stages_done
#
# 0 checks and teacher, 1 data, 2 teacher-side preparation, 3 train, 4 second phase / export,
# 5 decode, 6 score or SUPERB, 7 pack, 8 upload (off by default).

kd_current=none
kd_started=0
kd_times=()

say() { echo "[$(date '+%H:%M:%S')] $*" >&2; }

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# stages_check FIRST LAST: refuse stages that do not exist.
stages_check() {
    local first=$1 last=$2 name value
    for name in stage stop_stage; do
        value=${!name}
        if ! [[ $value =~ ^(0|[1-9][0-9]*)$ ]] || ((value < first || value > last)); then
            die "--$name $value: this recipe has the stages $first to $last"
        fi
    done
    if ((stage > stop_stage)); then
        die "--stage $stage is after --stop_stage $stop_stage"
    fi
    skip_stages=${skip_stages:-}
    skip_stages=${skip_stages//,/ }
    for value in ${skip_stages:-}; do
        if ! [[ $value =~ ^(0|[1-9][0-9]*)$ ]] || ((value < first || value > last)); then
            die "--skip_stages '$skip_stages': $value is not one of the stages $first to $last"
        fi
    done
}

# stage N TITLE COST [SHOWS]: true if stage N is to be run now; announces it with its cost and
# what it must show.
stage() {
    local number=$1 title=$2 cost=$3 shows=${4:-} skipped
    kd_finish_stage
    ((number >= stage && number <= stop_stage)) || return 1
    for skipped in ${skip_stages:-}; do
        if ((skipped == number)); then
            say "stage $number ($title): skipped"
            return 1
        fi
    done
    kd_current=$number
    kd_started=$SECONDS
    say "stage $number: $title (cost: $cost)"
    [ -z "$shows" ] || say "    must show: $shows"
}

kd_finish_stage() {
    if [ "$kd_current" != none ]; then
        kd_times+=("$kd_current:$((SECONDS - kd_started))")
        say "stage $kd_current: done in $((SECONDS - kd_started)) s"
        kd_current=none
    fi
}

# stages_done: end the last stage and say how long each took.
stages_done() {
    kd_finish_stage
    local entry line=""
    for entry in "${kd_times[@]}"; do
        line+=" ${entry%%:*}: ${entry##*:} s"
    done
    say "finished; seconds per stage:${line:- none}"
}

# need PATH STAGE [WHAT]: PATH must exist, else say which stage makes it.
need() {
    [ -e "$1" ] && return 0
    die "stage $kd_current needs $1${3:+ ($3)}, which stage $2 makes; run ./run.sh --stage $2"
}

# from_start NAME...: a relative path in variable NAME that is found from the folder in which the
# user typed the command is meant from there; others count from the recipe's folder.
from_start() {
    local name
    for name in "$@"; do
        if [[ ${!name} != "" && ${!name} != /* && -e ${OLDPWD:-.}/${!name} ]]; then
            printf -v "$name" '%s' "$(realpath -s "${OLDPWD:-.}/${!name}")"
        fi
    done
}

# split_words ARRAY TEXT: the words of TEXT as a shell would split them, quotes respected.
split_words() {
    mapfile -d '' -t "$1" < <("$python" -c \
        'import shlex, sys; sys.stdout.write("".join(w + "\0" for w in shlex.split(sys.argv[1])))' "$2" \
        2>/dev/null)
    wait $! || die "cannot split into words: $2; is a quote missing?"
}

# files_of WORD...: a checksum for each file among the words that is no program: experiment files,
# texts and lists, which may be changed where they are.
files_of() {
    local word
    for word in "$@"; do
        if [ -f "$word" ] && [ ! -x "$word" ] && [[ $word != *.py ]]; then cksum <"$word"; fi
    done
}

# rotate LOG: keep the logs of earlier attempts as LOG.1 (latest), LOG.2 ...
rotate() {
    local log=$1 number=1
    [ -e "$log" ] || return 0
    while [ -e "$log.$number" ]; do ((number += 1)); done
    for ((; number > 1; number--)); do mv "$log.$((number - 1))" "$log.$number"; done
    mv "$log" "$log.1"
}

# is_done MARK WORDS...: whether the same WORDS (a command, checksums) ended well before; says so.
is_done() {
    local mark=$1
    shift
    [ -f "$mark" ] && [ "$(cat "$mark")" = "$(printf '%q ' "$@")" ] || return 1
    say "    done already with the same options: $(dirname "$mark"); remove $mark to repeat it"
}

# mark_done MARK WORDS...: note that WORDS ended well.
mark_done() {
    local mark=$1
    shift
    mkdir -p "$(dirname "$mark")"
    printf '%q ' "$@" >"$mark.new"
    mv "$mark.new" "$mark"
}

# attended COMMAND...: run it so that a signal to the recipe ends it at once, not when it is done.
attended() {
    "$@" &
    wait $!
}

# wait_all PID...: wait for background jobs; fail if any failed, after all have ended.
wait_all() {
    local pid failed=0
    for pid in "$@"; do
        wait "$pid" || failed=1
    done
    return $failed
}

# start_job MOST COMMAND...: run it in the background, as soon as fewer than MOST jobs are running.
kd_jobs=()
start_job() {
    local most=$1
    shift
    while (($(jobs -pr | wc -l) >= most)); do wait -n || true; done
    "$@" &
    kd_jobs+=($!)
}

# finish_jobs: wait for all that start_job started; fail if any failed, after all have ended.
finish_jobs() {
    local started=("${kd_jobs[@]}")
    kd_jobs=()
    wait_all "${started[@]}"
}

# Stop the background jobs of this recipe when it is interrupted or fails.
kd_stop_jobs() {
    local pids
    pids=$(jobs -p)
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill $pids 2>/dev/null || true
    # They may still have something to save.
    # shellcheck disable=SC2086
    wait $pids 2>/dev/null || true
}

kd_on_exit() {
    local code=$?
    kd_stop_jobs
    if [ $code -ne 0 ] && [ "$kd_current" != none ]; then
        say "stage $kd_current failed; mend it and go on with ./run.sh --stage $kd_current"
    fi
    exit $code
}
trap kd_on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
