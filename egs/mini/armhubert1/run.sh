#!/usr/bin/env bash
# ARMHuBERT in miniature: speech -> teacher -> attention-reusing student -> S3PRL scores, from
# nothing but a package index, in about a quarter of an hour on two cores.
#
#   ./run.sh                                  # synthetic voices
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --corpus librispeech:/path       # any folder in LibriSpeech's layout
#   ./run.sh --stage 3 --seeds "0 1 2"        # from distillation on, three seeds
#
# Compared on the same downstream budget: the teacher, the distilled student, and two baselines of
# the student's architecture: untrained, and trained without a teacher for as many updates.
# Ends with exp/<corpus>/report/report.html and RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"

stage=0            # first stage to run
stop_stage=7       # last stage to run; 8 uploads
skip_stages=""     # stages to leave out, such as "5 6"
corpus=synthetic   # synthetic, digits:PATH, an4:PATH or librispeech:PATH
tag=""             # name of the data and experiment folders; made of corpus when empty
datadir=data       # where data is written, in a folder named by tag
expdir=exp         # where models and results are written, likewise
seeds="0"          # each seed is a whole run: teacher, student, baselines, downstream
train_set=train-clean-360  # speech for teacher and student; no transcripts needed
valid_set=dev-clean        # speech for validation
tasks="asr sid"    # downstream tasks: asr sid pr ks
num_classes=100    # clusters that the teacher predicts
nj=2               # processes at a time
ngpu=0             # GPUs for training and downstream
star=false         # true: also a student that learns temporal relations (STaRHuBERT)
smoke=false        # true: a few updates on a few utterances, to see that everything runs
teacher_args=""    # further options of ssl_distill_train for the teacher
student_args=""    # ... for student and baseline
hf_repo=""         # where stage 8 uploads to, NAME/MODEL
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/mini.sh
stages_check 0 8

if stage 0 "Checks" "seconds" "versions of the packages, and room on the disk"; then
    "$python" ../../TEMPLATE/check.py --corpus "$corpus" --min_free_gb 1
fi

if stage 1 "Data" "30 s, 100 MB" "three good data folders"; then
    prepare_speech
fi

if stage 2 "Cluster targets and teacher" "5 to 6 minutes per seed, 50 MB" \
    "masked accuracy of the teacher at 25 times chance or more"; then
    need "$data/$train_set/wav.scp" 1
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        train_teacher
    done
fi

if stage 3 "Distil the student; train the baseline without a teacher" "4 minutes per seed, 30 MB" \
    "a falling valid loss of both"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/teacher/student/config.json" 2 "the teacher of seed $seed"
        # shellcheck disable=SC2086
        start_job "$nj" train student conf/distil_student.yaml false 1 \
            --teacher "$seed_dir/teacher/student" $student_args
        if $star; then
            # shellcheck disable=SC2086
            start_job "$nj" train star conf/distil_starhubert.yaml false 1 \
                --teacher "$seed_dir/teacher/student" $student_args
        fi
        # shellcheck disable=SC2086
        start_job "$nj" train no_teacher conf/train_no_teacher.yaml true 1 $student_args
    done
    finish_jobs
fi

if stage 4 "Export and profile" "20 s per seed" "a third of the teacher's parameters"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/student/student/config.json" 3 "the student of seed $seed"
        need "$seed_dir/no_teacher/student/config.json" 3 "the baseline of seed $seed"
        "$python" ../../TEMPLATE/random_student.py --like "$seed_dir/student/student" \
            --seed "$seed" --out "$seed_dir/untrained"
        models=()
        for model in teacher student no_teacher; do
            models+=("$model=$seed_dir/$model/student")
        done
        models+=("untrained=$seed_dir/untrained")
        if $star; then models+=("star=$seed_dir/star/student"); fi
        "$python" ../../TEMPLATE/gather_models.py --models "${models[@]}" --out "$seed_dir/models"
    done
fi

if stage 5 "S3PRL downstream: ${tasks}" "3 minutes per seed, 40 MB" \
    "the student above both baselines"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        downstream teacher student no_teacher untrained $($star && echo star)
    done
fi

if stage 6 "Table, plots, RESULTS.md" "5 s" "one row per system in RESULTS.md"; then
    runs=()
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/downstream" 5 "the scores of seed $seed"
        "$python" local/collect.py --seed_dir "$seed_dir" --seed "$seed" --corpus "$tag" \
            --command "egs/mini/armhubert1/run.sh --corpus ${corpus/:*/:PATH} --seeds \"$seeds\"${student_args:+ --student_args \"$student_args\"}"
        runs+=("$seed_dir"/results/*.json)
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$expdir/report" \
        --title "ARMHuBERT in miniature on $tag"
    "$python" ../../TEMPLATE/verdict.py "${runs[@]}" --smoke "$smoke" \
        --pairs student:untrained student:no_teacher student:teacher
fi

if stage 7 "Pack the student" "seconds"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/models/student/config.json" 4 "the student of seed $seed"
        need "$expdir/report/RESULTS.md" 6
        "$python" ../../TEMPLATE/pack_student.py --model "$seed_dir/models/student" \
            --config "$seed_dir/student/config.yaml" --results "$expdir/report/RESULTS.md" \
            --out "$seed_dir/student.zip"
    done
fi

if stage 8 "Upload" "needs --hf_repo, a token and the network"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    for seed in $seeds; do
        need "$expdir/seed$seed/models/student/config.json" 4
    done
    seed=${seeds%% *}
    "$python" ../../TEMPLATE/upload_student.py --model "$expdir/seed$seed/models/student" \
        --results "$expdir/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
