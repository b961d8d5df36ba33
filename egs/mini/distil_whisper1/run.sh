#!/usr/bin/env bash
# Whisper distillation in miniature: speech -> Whisper teacher -> pseudo-labels -> filters -> two
# smaller Whispers -> WER, with nothing but a package index, in about a quarter of an hour on two
# cores.
#
#   ./run.sh                                  # synthetic voices: digits and commands
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --stage 5 --seeds "0 1 2"        # from the students on, three seeds
#
# distil  keeps the teacher's encoder, frozen and shared, and two decoder layers (Distil-Whisper); it
#         learns from labels with a low WER where there are transcripts, else from confident ones.
# udistil has half of the encoder and of the decoder layers (uDistil-Whisper) and never needs a
#         transcript.
# Each is compared with its own architecture trained from scratch on the same labels for as many
# updates. Ends with exp/<corpus>/report/report.html and RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")"

stage=0            # first stage to run
stop_stage=7       # last stage to run; 8 uploads
skip_stages=""     # stages to leave out, such as "3 4"
corpus=synthetic   # synthetic, digits:PATH, an4:PATH or librispeech:PATH
tag=""             # name of the data and experiment folders; made of corpus when empty
datadir=data       # where data is written, in a folder named by tag
expdir=exp         # where models and results are written, likewise
seeds="0"          # each seed is a whole run: teacher, labels, students, baselines
seconds=0          # window of the models, longer utterances are left out; 0 = all utterances fit
wer_threshold=40   # labels with transcripts are kept below this WER (%): somewhat above the teacher's
free_limits="--quantile conf=0.8" # limits for the others, as bin.whisper_filter takes them
measures="conf entropy compression repetition mcd" # judged against the true WER of labels
nj=2               # processes at a time
ngpu=0             # GPUs for training
smoke=false        # true: a few updates on a few utterances, to see that everything runs
teacher_args=""    # further options of whisper_distill_train for the teacher
student_args=""    # ... for students and baselines
hf_repo=""         # where stage 8 uploads the first student to, NAME/MODEL
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
train_set=train-clean-360
valid_set=dev-clean
. ../../TEMPLATE/mini.sh
stages_check 0 8

parts=$data/whisper
students="distil udistil"
systems="teacher distil udistil distil_scratch udistil_scratch"
max_length=40 # tokens of a transcript with its prefix
filter_args=""
if $smoke; then
    # Models that have learnt nothing write nothing that a filter would keep.
    filter_args="--keep_truncated --keep_bad_timestamps --max_repeats 0 --max_compression 0"
    wer_threshold=1e9
    free_limits="--quantile conf=1"
    measures="conf compression"
    student_args+=" --kd_conf drop_flagged=[]"
    max_length=10
fi

label() { # PART: pseudo-labels of a part of the training speech
    derive "$seed_dir/labels/$1" "$python" -m espnet_kd.bin.whisper_pseudo_label \
        --model_name_or_path "$seed_dir/teacher/student" --data_dir "$parts/$1" \
        --output_dir "$seed_dir/labels/$1" --language en --concatenate_audio false \
        --max_duration_in_seconds "$(cat "$parts/seconds")" --max_label_length "$max_length" \
        --per_device_eval_batch_size 16
}

filter() { # NAME PART LIMITS...
    local folder=$seed_dir/filtered/$1 part=$2
    shift 2
    # shellcheck disable=SC2086
    derive "$folder" "$python" -m espnet_kd.bin.whisper_filter --labels "$seed_dir/labels/$part" \
        --out "$folder" --language en --normaliser basic $filter_args "$@"
}

shrink() { # NAME LAYERS...: the student's start, and that of its baseline
    local folder=$seed_dir/start/$1
    shift
    derive "$folder" "$python" -m espnet_kd.bin.whisper_shrink \
        --teacher_checkpoint "$seed_dir/teacher/student" --save_dir "$folder" "$@"
    derive "${folder}_scratch" "$python" ../../TEMPLATE/create_whisper.py \
        --like "$folder" --seed "$((seed + 1))" --out "${folder}_scratch"
}

# shellcheck disable=SC2086
train_pair() { # NAME FILTERED...: a student and its baseline, one after the other
    local name=$1 folder folders=()
    shift
    for folder in "$@"; do folders+=("$seed_dir/filtered/$folder/kept"); done
    train_whisper "$name" "conf/$name.yaml" 1 --student "$seed_dir/start/$name" \
        --teacher "$seed_dir/teacher/student" --train_dir "${folders[@]}" \
        --valid_dir "$parts/valid" $student_args
    train_whisper "${name}_scratch" conf/scratch.yaml 1 \
        --student "$seed_dir/start/${name}_scratch" --train_dir "${folders[@]}" \
        --valid_dir "$parts/valid" $student_args
}

evaluate() { # FOLDER OPTIONS...: one model at a time, because it measures time
    derive "$1" "$python" -m espnet_kd.bin.whisper_evaluate --data "$parts/test" --dataset_id mini \
        --out "$1" --language en --normaliser basic --max_length "$max_length" "${@:2}"
}

if stage 0 "Checks" "seconds" "versions of the packages, and room on the disk"; then
    "$python" ../../TEMPLATE/check.py --corpus "$corpus" --min_free_gb 1 \
        --packages transformers openai-whisper
fi

if stage 1 "Data" "1 minute, 100 MB" "five parts, one of them without transcripts"; then
    prepare_speech
    "$python" local/split.py --data "$data" --seconds "$seconds" \
        --train "$train_set" train-clean-100 --valid "$valid_set" --test test-clean
fi

if stage 2 "Whisper teacher, from scratch on transcripts" "5 minutes per seed, 50 MB" \
    "a validation WER far below 50 %"; then
    need "$parts/seconds" 1 "the training speech"
    read -ra all_seeds <<<"$seeds"
    threads=$((${#all_seeds[@]} < nj ? nj / ${#all_seeds[@]} : 1))
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        derive "$seed_dir/start/teacher" "$python" ../../TEMPLATE/create_whisper.py \
            --conf conf/teacher.yaml --seconds "$(cat "$parts/seconds")" --seed "$seed" \
            --out "$seed_dir/start/teacher"
        # shellcheck disable=SC2086
        start_job "$nj" train_whisper teacher conf/train_teacher.yaml "$threads" \
            --student "$seed_dir/start/teacher" --train_dir "$parts/teacher" \
            --valid_dir "$parts/valid" $teacher_args
    done
    finish_jobs
    for seed in $seeds; do
        "$python" local/check_teacher.py "$expdir/seed$seed/teacher/tensorboard" --smoke "$smoke"
    done
fi

if stage 3 "Pseudo-labels" "30 s per seed" "labels of both pools"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/teacher/student/config.json" 2 "the teacher of seed $seed"
        for part in transcribed untranscribed; do start_job "$nj" label $part; done
    done
    finish_jobs
fi

if stage 4 "Filters: WER, and measures that need no transcript" "1 minute per seed" \
    "AUCs above 0.5"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        for part in transcribed untranscribed; do
            need "$seed_dir/labels/$part/labels.jsonl" 3 "the labels of seed $seed"
        done
        # shellcheck disable=SC2086
        start_job "$nj" filter auc transcribed --evaluate --measures $measures
        start_job "$nj" filter wer transcribed --threshold "wer=$wer_threshold"
        # shellcheck disable=SC2086
        for part in transcribed untranscribed; do
            start_job "$nj" filter "free_$part" "$part" $free_limits
        done
    done
    finish_jobs
    for seed in $seeds; do cat "$expdir/seed$seed/filtered/auc/auc.md"; done
fi

if stage 5 "Shrink and distil two students; train their shapes from scratch" \
    "5 minutes per seed, 60 MB" "students far below their baselines in validation WER"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        for part in wer free_transcribed free_untranscribed; do
            need "$seed_dir/filtered/$part/kept/labels.jsonl" 4 "filtered labels of seed $seed"
        done
        start_job "$nj" shrink distil --decoder_layers 2
        start_job "$nj" shrink udistil --encoder_layers 2 --decoder_layers 2
    done
    finish_jobs
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        start_job "$nj" train_pair distil wer free_untranscribed
        start_job "$nj" train_pair udistil free_transcribed free_untranscribed
    done
    finish_jobs
fi

if stage 6 "Recognise the test data, alone and with a student as the teacher's draft" \
    "1 minute per seed" "students between teacher and baselines, identical drafted texts"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        mkdir -p "$seed_dir/models"
        models=()
        for system in $systems; do
            need "$seed_dir/$system/student/config.json" 5 "$system of seed $seed"
            ln -sfn "../$system/student" "$seed_dir/models/$system"
            models+=("$seed_dir/models/$system")
        done
        evaluate "$seed_dir/scores" --models "${models[@]:1}"
        evaluate "$seed_dir/draft" --models "${models[0]}" --assistant "$seed_dir/models/distil"
    done
fi

if stage 7 "Table, plots, RESULTS.md" "10 s" "one row per system in RESULTS.md"; then
    runs=()
    figures=()
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/draft/results.md" 6 "the scores of seed $seed"
        "$python" local/collect.py --seed_dir "$seed_dir" --seed "$seed" --corpus "$tag" \
            --command "egs/mini/distil_whisper1/run.sh --corpus ${corpus/:*/:PATH} --seeds \"$seeds\"${student_args:+ --student_args \"$student_args\"}"
        for system in $systems; do runs+=("$seed_dir/results/$system.json"); done
        figures+=("How well measures find bad labels, seed $seed=$seed_dir/filtered/auc/auc.png")
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --figures "${figures[@]}" \
        --out "$expdir/report" --title "Distil-Whisper in miniature on $tag"
    "$python" ../../TEMPLATE/verdict.py "${runs[@]}" --smoke "$smoke" \
        --pairs distil:distil_scratch udistil:udistil_scratch distil:teacher udistil:teacher
fi

if stage 8 "Upload" "needs --hf_repo, a token and the network"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    seed=${seeds%% *}
    need "$expdir/seed$seed/distil/student/config.json" 5
    need "$expdir/report/RESULTS.md" 7
    "$python" ../../TEMPLATE/upload_student.py --model "$expdir/seed$seed/distil/student" \
        --results "$expdir/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
