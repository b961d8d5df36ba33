#!/usr/bin/env bash
# DPHuBERT in miniature: speech -> teacher -> teacher pruned while it distils (phase 1) -> smaller
# student, distilled once more (phase 2) -> S3PRL scores, from nothing but a package index.
#
#   ./run.sh                                  # synthetic voices, half and a quarter of the teacher
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --targets "0.25 0.5 0.75" --seeds "0 1 2"    # more points for the plot, three seeds
#   ./run.sh --teacher ../armhubert1/exp/synthetic/seedSEED/teacher/student  # one that is there
#
# Compared for each target on the same downstream budget: the teacher, the student after phase 1 and
# after phase 2, and a student of the same shape that learnt from random weights, by distillation
# alone, for as many updates. --combine true also prunes an attention-reusing student (ARMHuBERT)
# while it learns with the masking loss, in one run. Ends with exp/<corpus>/report.
set -euo pipefail
cd "$(dirname "$0")"

stage=0            # first stage to run
stop_stage=7       # last stage to run; 8 uploads
skip_stages=""     # stages to leave out, such as "5 6"
corpus=synthetic   # synthetic, digits:PATH, an4:PATH or librispeech:PATH
tag=""             # name of the data and experiment folders; made of corpus when empty
datadir=data       # where data is written, in a folder named by tag
expdir=exp         # where models and results are written, likewise
seeds="0"          # each seed is a whole run: teacher, students, downstream
targets="0.5 0.75" # shares of the teacher's parameters to remove
teacher=""         # folder of a teacher that is there; SEED in it stands for the seed
combine=true       # true: also prune an attention-reusing student
combine_target=0.5 # share of its parameters to remove
reuse_student=""   # folder of such a student that is there, likewise; distilled here when empty
train_set=train-clean-360  # speech for all trainings; no transcripts needed
valid_set=dev-clean        # speech for validation
tasks="asr sid"    # downstream tasks: asr sid pr ks
num_classes=100    # clusters that the teacher predicts
nj=2               # processes at a time
ngpu=0             # GPUs for training and downstream
smoke=false        # true: a few updates on a few utterances, to see that everything runs
teacher_args=""    # further options of ssl_distill_train for the teacher
phase1_args=""     # ... for phase 1
phase2_args=""     # ... for phase 2
same_size_args=""  # ... for the student from random weights
reuse_args=""      # ... for the attention-reusing student
combine_args=""    # ... for pruning it
hf_repo=""         # where stage 8 uploads the first target's student to, NAME/MODEL
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/mini.sh
stages_check 0 8
from_start teacher reuse_student
for target in $targets $combine_target; do
    [[ $target =~ ^0\.[0-9]*[1-9]$ ]] || die "--targets '$targets', --combine_target" \
        "'$combine_target': $target is no share between 0 and 1, written like 0.75"
done
[ -n "$targets" ] || die "--targets is empty: name at least one share, such as 0.75"
# shellcheck disable=SC2086
[ -z "$(printf '%s\n' $targets | sort | uniq -d)" ] || die "--targets '$targets' names one twice"

of_seed() { # set seed_dir, teacher_dir and reuse_dir of $seed
    local folder
    seed_dir=$expdir/seed$seed
    teacher_dir=${teacher//SEED/$seed}
    reuse_dir=${reuse_student//SEED/$seed}
    for folder in "$teacher_dir" "$reuse_dir"; do
        if [ -n "$folder" ] && [ ! -f "$folder/config.json" ]; then
            die "--teacher or --reuse_student: $folder is no folder with config.json"
        fi
    done
    teacher_dir=${teacher_dir:-$seed_dir/teacher/student}
    reuse_dir=${reuse_dir:-$seed_dir/reuse/student}
}

systems() { # names of all that is compared
    local target
    echo teacher
    for target in $targets; do
        echo "phase1_sp$target phase2_sp$target same_size_sp$target"
    done
    if $combine; then echo reuse reuse_pruned; fi
}

prune() { # RUN FOLDER: make the pruned student of $seed_dir/RUN
    local run=$seed_dir/$1 folder=$seed_dir/$2
    local made_from=("$(cksum <"$run/config.yaml")" "$(cksum <"$run/latest.pth")")
    if is_done "$folder/.done_prune" "${made_from[@]}"; then return; fi
    "$python" -m espnet_kd.bin.prune --exp "$run" --out "$folder" --fit_target
    mark_done "$folder/.done_prune" "${made_from[@]}"
}

# shellcheck disable=SC2086
combination() { # an attention-reusing student, then the same pruned while it learns
    if [ -z "$reuse_student" ]; then
        train reuse ../armhubert1/conf/distil_student.yaml false 1 --teacher "$teacher_dir" \
            $reuse_args
    fi
    train reuse_pruned conf/combine.yaml false 1 --student "$reuse_dir" --teacher "$teacher_dir" \
        --kd_conf pruning.target_sparsity="$combine_target" $combine_args
}

# shellcheck disable=SC2086
same_size() { # TARGET: the pruned student's shape, random weights
    local pruned=$seed_dir/pruned_sp$1 random=$seed_dir/random_sp$1
    local made_from=("$seed" "$(cksum <"$pruned/config.json")")
    if ! is_done "$random/.done" "${made_from[@]}"; then
        "$python" ../../TEMPLATE/random_student.py --like "$pruned" --seed "$seed" --out "$random"
        mark_done "$random/.done" "${made_from[@]}"
    fi
    train "same_size_sp$1" conf/same_size.yaml false 1 --student "$random" \
        --teacher "$teacher_dir" $same_size_args
}

if stage 0 "Checks" "seconds" "versions of the packages, and room on the disk"; then
    "$python" ../../TEMPLATE/check.py --corpus "$corpus" --min_free_gb 1
fi

if stage 1 "Data" "30 s, 100 MB" "three good data folders"; then
    prepare_speech
fi

if stage 2 "Cluster targets and teacher" "5 minutes per seed, 50 MB; seconds with --teacher" \
    "masked accuracy of the teacher at 25 times chance or more"; then
    need "$data/$train_set/wav.scp" 1
    for seed in $seeds; do
        of_seed
        if [ -z "$teacher" ]; then
            train_teacher
        else
            "$python" ../../TEMPLATE/check_teacher.py "$teacher_dir" --num_classes "$num_classes"
        fi
    done
fi

if stage 3 "Phase 1: distil and prune, to ${targets}" \
    "about 12 minutes per seed with two targets and the combination, 100 MB" \
    "an expected sparsity that has reached its target"; then
    for seed in $seeds; do
        of_seed
        need "$teacher_dir/config.json" 2 "the teacher of seed $seed"
        if $combine; then start_job "$nj" combination; fi
        for target in $targets; do
            # shellcheck disable=SC2086
            start_job "$nj" train "phase1_sp$target" conf/phase1.yaml false 1 \
                --student "$teacher_dir" --teacher "$teacher_dir" \
                --kd_conf pruning.target_sparsity="$target" $phase1_args
        done
    done
    finish_jobs
fi

if stage 4 "Prune; phase 2: distil once more; the same size from random weights" \
    "about 12 minutes per seed with two targets, 200 MB" \
    "a removed share within 1 % of its target, a falling valid loss"; then
    for seed in $seeds; do
        of_seed
        for target in $targets; do
            need "$seed_dir/phase1_sp$target/student/config.json" 3 "phase 1 of seed $seed"
            start_job "$nj" prune "phase1_sp$target" "pruned_sp$target"
        done
        if $combine; then
            need "$seed_dir/reuse_pruned/student/config.json" 3 "the combination of seed $seed"
            start_job "$nj" prune reuse_pruned pruned_reuse
        fi
    done
    finish_jobs
    for seed in $seeds; do
        of_seed
        for target in $targets; do
            start_job "$nj" same_size "$target"
            # shellcheck disable=SC2086
            start_job "$nj" train "phase2_sp$target" conf/phase2.yaml false 1 \
                --student "$seed_dir/pruned_sp$target" --teacher "$teacher_dir" --kd_conf \
                "objectives.layer_distill.projections=$seed_dir/pruned_sp$target" $phase2_args
        done
    done
    finish_jobs
    for seed in $seeds; do
        of_seed
        models=("teacher=$teacher_dir")
        for target in $targets; do
            models+=("phase1_sp$target=$seed_dir/pruned_sp$target")
            for system in phase2 same_size; do
                models+=("${system}_sp$target=$seed_dir/${system}_sp$target/student")
            done
        done
        if $combine; then
            models+=("reuse=$reuse_dir" "reuse_pruned=$seed_dir/pruned_reuse")
        fi
        "$python" ../../TEMPLATE/gather_models.py --models "${models[@]}" --out "$seed_dir/models"
    done
fi

if stage 5 "S3PRL downstream: ${tasks}" "about 1 minute per seed and system, 5 MB each" \
    "phase 2 above the same size from random weights"; then
    for seed in $seeds; do
        of_seed
        # shellcheck disable=SC2046
        downstream $(systems)
    done
fi

if stage 6 "Table, plots, RESULTS.md" "10 s" \
    "one row per system, every target reached within 1 %"; then
    runs=()
    for seed in $seeds; do
        of_seed
        need "$seed_dir/downstream" 5 "the scores of seed $seed"
        # shellcheck disable=SC2086
        "$python" local/collect.py --seed_dir "$seed_dir" --seed "$seed" --corpus "$tag" \
            --targets $targets --combine "$combine" \
            --command "egs/mini/dphubert1/run.sh --corpus ${corpus/:*/:PATH} --seeds \"$seeds\" --targets \"$targets\""
        for system in $(systems); do runs+=("$seed_dir/results/$system.json"); done
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$expdir/report" \
        --title "DPHuBERT in miniature on $tag"
    pairs=()
    for target in $targets; do
        for other in phase1_sp$target same_size_sp$target teacher; do
            pairs+=("phase2_sp$target:$other")
        done
    done
    if $combine; then pairs+=(reuse_pruned:reuse reuse_pruned:teacher); fi
    "$python" ../../TEMPLATE/verdict.py "${runs[@]}" --smoke "$smoke" --pairs "${pairs[@]}"
fi

if stage 7 "Pack the students" "seconds"; then
    need "$expdir/report/RESULTS.md" 6
    for seed in $seeds; do
        of_seed
        for target in $targets; do
            need "$seed_dir/models/phase2_sp$target/config.json" 4 "a student of seed $seed"
            "$python" ../../TEMPLATE/pack_student.py --model "$seed_dir/models/phase2_sp$target" \
                --config "$seed_dir/phase2_sp$target/config.yaml" \
                --results "$expdir/report/RESULTS.md" --out "$seed_dir/student_sp$target.zip"
        done
    done
fi

if stage 8 "Upload" "needs --hf_repo, a token and the network"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    model=$expdir/seed${seeds%% *}/models/phase2_sp${targets%% *}
    need "$model/config.json" 4
    "$python" ../../TEMPLATE/upload_student.py --model "$model" \
        --results "$expdir/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
