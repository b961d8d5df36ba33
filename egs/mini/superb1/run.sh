#!/usr/bin/env bash
# SUPERB in miniature: all ten tasks, on corpora in their layouts that are made on the spot, for the
# teacher and the students of the other recipes in egs/mini.
#
#   (cd ../armhubert1 && ./run.sh --star true); (cd ../dphubert1 && ./run.sh)   # the models
#   ./run.sh                                  # synthetic voices
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --models "mine=DIR" --tasks "ks sd"
#   ./run.sh --stage 6                        # the table again
#
# Heads and budgets are small (egs/mini/conf), the same for every model. Emotions are speaking
# styles; of digits, three words stand for an intent's action, object and location.
# Ends with exp/<corpus>/report/superb.html and RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"

stage=0            # first stage to run
stop_stage=7       # last stage to run
skip_stages=""     # stages to leave out
corpus=synthetic   # synthetic or digits:PATH
tag=""             # name of the data and experiment folders; made of corpus when empty
datadir=data       # where data is written, in a folder named by tag
expdir=exp         # where results are written, likewise
tasks="pr asr ks qbe sid asv sd ic sf er"  # which of the ten
models=""          # "NAME=DIR ..."; the models of ../armhubert1 and ../dphubert1 when empty
seed=0             # of those models, of the corpora and of the tasks
feature_cache=auto # off, exact, isolated, pooled, or auto: what suits the task
nj=2               # tasks at a time
ngpu=0             # GPUs that they share
smoke=false        # true: a few updates on a few utterances, to see that everything runs
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/stages.sh
stages_check 0 7

tag=${tag:-${corpus%%:*}}
size=mini
override=""
if $smoke; then
    tag+=_smoke
    size=tiny
    override="config.runner.total_steps=4,,config.runner.eval_step=4,,config.runner.save_step=4"
fi
data=$datadir/$tag
expdir=$expdir/$tag
if [ -z "$models" ]; then
    arm=../armhubert1/exp/${corpus%%:*}/seed$seed/models
    models="teacher=$arm/teacher armhubert=$arm/student starhubert=$arm/star"
    models+=" dphubert=../dphubert1/exp/${corpus%%:*}/seed$seed/models/phase2_sp0.5"
fi

if stage 0 "Checks, models" "seconds" "every model is there"; then
    "$python" ../../TEMPLATE/check.py --corpus "$corpus" --min_free_gb 4
    for pair in $models; do
        if [ ! -f "${pair#*=}/config.json" ]; then
            die "${pair%%=*}: ${pair#*=} is no folder with config.json; run the recipe that makes" \
                "it (--star true in ../armhubert1), or name models with --models"
        fi
    done
fi

if stage 1 "Data of all tasks" "3 minutes, 300 MB" "all tasks ready"; then
    "$python" -m espnet_kd.bin.prepare_superb --corpus "$corpus" --out "$data" --size $size \
        --seed "$seed" --tasks "$tasks" --processes "$nj"
    "$python" -m s3prl_upstreams.check_data --data "$data" --tasks "$tasks" --conf ../conf \
        --audio true
fi

if stage 3 "Train and evaluate: $tasks" "8 minutes per model, 3 GB" "one score per task"; then
    need "$data" 1 "the corpora"
    # shellcheck disable=SC2086
    attended "$python" ../../TEMPLATE/downstream_jobs.py --models $models --tasks $tasks \
        --root "$(realpath "$data")" --conf ../conf --out "$expdir" --seed "$seed" --nj "$nj" \
        --ngpu "$ngpu" --override "$override" --extra "--feature_cache $feature_cache"
fi

if stage 6 "Scores, plots, RESULTS.md" "a minute" "one row per model"; then
    rows=() roles=()
    for pair in $models; do
        need "$expdir/${pair%%=*}" 3 "the scores of ${pair%%=*}"
        rows+=("${pair%%=*}=$expdir/${pair%%=*}")
        if [ "${pair%%=*}" = teacher ]; then roles=(--role teacher=teacher); fi
    done
    missing=()
    if [ "$(wc -w <<<"$tasks")" -lt 10 ]; then missing=(--allow_missing); fi
    # shellcheck disable=SC2086
    "$python" -m espnet_kd.bin.superb_score --exp "${rows[@]}" --model $models "${roles[@]}" \
        "${missing[@]}" --published no --out "$expdir/report" --title "SUPERB in miniature on $tag"
fi

if stage 7 "predict.zip, as for the leaderboard" "seconds" "one zip file per model"; then
    for pair in $models; do
        # shellcheck disable=SC2086
        "$python" -m s3prl_upstreams.make_submission --exp "$expdir/${pair%%=*}" --tasks $tasks \
            --output_dir "$expdir/${pair%%=*}"
    done
fi

stages_done
