#!/usr/bin/env bash
# DPHuBERT and DPWavLM as published: HuBERT Base or WavLM Base+ distilled and pruned to a quarter of
# its size in one training on LibriSpeech, distilled once more, scored with SUPERB.
#
#   ./run.sh                                          # everything, DPHuBERT on 960 h, one GPU
#   ../dpwavlm1/run.sh --ngpu 4                       # DPWavLM on four GPUs, as published
#   ./run.sh --hours 100 --sparsity 0.6               # another experiment, another size
#   ./run.sh --stage 3 --ngpu 8 --num_nodes 2         # two nodes; set cuda_cmd in cmd.sh
#   ./run.sh --stage 3 --stop_stage 4 --hosts node1:0:1,node2:0:1    # two nodes through ssh
#   ./run.sh --stage 1 --teacher DIR --librispeech DIR --ngpu 0      # own teacher, own speech, CPU
#
# Stage 3 is the published step 1, stage 4 prunes and does step 2. On any number of GPUs an update
# sees 640 s of speech and there are 50000 and 25000 updates, as published. What was started goes on
# where it stopped; only stages 0 and 1 use the network, and only for what is not there.
#
# Cost with the defaults: 70 GB of disk (100 h: 12 GB). Both trainings take about 6 hours on four
# A100 (published for HuBERT Base), so a day on one (estimate).
set -euo pipefail
cd "${KD_RECIPE:-$(dirname "$0")}"

stage=0                 # first stage to run
stop_stage=7            # last stage to run; 8 uploads
skip_stages=""          # stages to leave out, such as "5 6"
student=dphubert        # dphubert, dpwavlm; not published: dphubert_macs, dphubert_large
hours=960               # 960 or 100 (dphubert): hours of LibriSpeech to distil on
sparsity=""             # share to remove, of parameters or (dphubert_macs) MACs; 0.75 when empty
conf=""                 # folder of NAME_phase1.yaml and NAME_phase2.yaml, instead of conf/dphubert
teacher=""              # own teacher: a folder, fairseq's .pt, DPHuBERT's .pth; fetched when empty
teacher_source=huggingface  # where to fetch it: huggingface, or fairseq (HuBERT Base only)
teacher_revision=""     # revision on the hub, pinned when empty
teacher_sha256=""       # checksum that its weights must have; known for HuBERT Base
librispeech=downloads/LibriSpeech  # folder of the splits; fetched into it where missing
librispeech_url=""      # mirror of openslr.org/resources/12
lexicon=""              # PR: lexicon files "a.txt b.txt"; S3PRL's are fetched when empty
speech_commands=""      # KS: folder with speech_commands_v0.01 and its test set; fetched when empty
voxceleb=""             # SID: folder of VoxCeleb1 (needs a licence); SID is left out when empty
skip_bad=false          # true: leave unusable recordings out (at most 1 %)
ngpu=1                  # GPUs per node, 0 = CPU
num_nodes=1             # nodes
hosts=""                # instead of num_nodes: hosts reached by ssh, host1:0:1,host2:0:1
seconds_per_update=0    # seconds of speech per update; 0 = published: 640
per_gpu=0               # seconds of a batch on one GPU, at most; 0 = published: 160
num_workers=4           # processes that load data
seed=0                  # of training and downstream tasks
phase1_args=""          # further options of ssl_distill_train: "--max_epoch 20 --kd_conf '{...}'"
phase2_args=""          # ... for stage 4
exact=false             # true: prune without a change of the outputs (published: false)
epoch=latest            # of phase 2, to export: latest (published), valid.loss.ave, 20epoch ...
superb_tasks="pr ks sid"  # stage 6; ASR is stage 5
superb_models=student   # "teacher student": also prove the teacher, for as much again
superb_variant=""       # armhubert: that paper's schedules; SUPERB's own when empty
superb_conf=""          # folder of superb_TASK.yaml, instead of conf/superb
superb_args=""          # further options of run_downstream
nj=2                    # downstream tasks at a time
datadir=data            # Kaldi folders
expdir=exp              # everything that is trained
tag=""                  # added to the experiment's name
hf_repo=""              # stage 8: NAME/MODEL
license=""              # of the weights, for the model card: apache-2.0 ...
python=""               # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/stages.sh
stages_check 0 8
from_start conf teacher librispeech speech_commands voxceleb superb_conf datadir expdir
. ../common/librispeech.sh

system=${student}_${hours}h
conf=${conf:-$MAIN_ROOT/conf/dphubert}
config1=$conf/${system}_phase1.yaml
config2=$conf/${system}_phase2.yaml
# The kind of target matters to phase 1 alone.
[ -f "$config2" ] || config2=$conf/${student%_macs}_${hours}h_phase2.yaml
for file in "$config1" "$config2"; do
    [ -f "$file" ] || die "--student $student --hours $hours: $file is missing; there are:" \
        "$(cd "$conf" && echo ./*_phase1.yaml)"
done
training_data "$hours"
exp=$expdir/$system${sparsity:+_sp$sparsity}${tag:+_$tag}
phase1=$exp/phase1
phase2=$exp/phase2
pruned=$exp/pruned
student_dir=$exp/student
case "$student" in
    dpwavlm*) locate_teacher wavlm_base_plus ;;
    *_large*) locate_teacher hubert_large ;;
    *) locate_teacher hubert_base ;;
esac
valid_splits="dev-clean dev-other"
# downstream tasks need these splits, whatever is distilled
# shellcheck disable=SC2086
mapfile -t all_splits < <(unique $train_splits $valid_splits train-clean-100 test-clean)

# train CONFIG DIR OPTION...: one phase with the published seconds and updates.
train() {
    local config=$1 dir=$2 batch command
    shift 2
    need "$teacher_dir/config.json" 0 "the teacher"
    need "$datadir/$train_set/utt2num_samples" 2 "the training set"
    need "$datadir/dev/utt2num_samples" 2 "the validation set"
    streams_of "$train_set" dev
    batch=$("$python" ../dphubert1/local/seconds_plan.py --config "$config" \
        --processes "$(processes)" --seconds "$seconds_per_update" --per_gpu "$per_gpu")
    read -r -a batch <<<"$batch"
    say "    ${batch[0]} s per batch over $(processes) process(es), ${batch[1]} batch(es) per update"
    command=("$python" -m espnet_kd.bin.ssl_distill_train --config "$config"
        --teacher "$teacher_dir" --output_dir "$dir" "${streams[@]}"
        --kd_conf "batching.seconds_per_batch=${batch[0]}"
        --accum_grad "${batch[1]}" --num_iters_per_epoch "${batch[2]}" "$@")
    if ! is_done "$dir/.done" "${command[@]}"; then
        launch "$dir" "${command[@]}"
        mark_done "$dir/.done" "${command[@]}"
    fi
}

if stage 0 "Checks, teacher" "10 minutes with the download, 0.8 GB" \
    "a teacher of 94.4 M parameters whose 12 layers are finite; it is worth PER 5.41, WER 6.42 (WavLM Base+: 3.92, 5.59): --superb_models 'teacher student' measures it"; then
    prepare_teacher 70
fi

if stage 1 "Data" "2 hours with the download, 63 GB (100 h: 8 GB); 10 minutes without" \
    "281241 utterances, 960.9 h (100 h: 28539, 100.6 h), every header checked"; then
    prepare_splits "${all_splits[@]}"
fi

if stage 2 "Training and validation set, tables for S3PRL" "2 minutes, 0.1 GB" \
    "5567 utterances for validation"; then
    # shellcheck disable=SC2086
    join_splits "$train_set" $train_splits
    # shellcheck disable=SC2086
    join_splits dev $valid_splits
    bucket_tables
fi

if stage 3 "Phase 1: distil and prune $system" "17 GPU hours (estimate, see --help); 2 GB" \
    "sparsity_expected at 0.75 in the last lines of phase1/pruning.jsonl"; then
    split_words more "$phase1_args"
    [ -z "$sparsity" ] || more=(--kd_conf "pruning.target_sparsity=$sparsity" "${more[@]}")
    train "$config1" "$phase1" --student "$teacher_dir" "${more[@]}"
fi

if stage 4 "Prune, phase 2: distil, export" "7 GPU hours (estimate, see --help); 1.3 GB" \
    "23.6 M parameters, 75.0 % removed (published: 23585946, 75.007 %; DPWavLM 23586325, 75.010 %)"; then
    need "$phase1/latest.pth" 3 "the weights to prune"
    need "$phase1/.done" 3 "the end of phase 1"
    sum=$(sha256sum "$(realpath "$phase1/latest.pth")")
    if ! is_done "$exp/.done_prune" "$exact" "${sum%% *}"; then
        [ ! -e "$phase2" ] || die "$phase2 goes on from another pruned student:" \
            "remove it, or give --tag for another experiment"
        exactly=()
        ! $exact || exactly=(--exact)
        "$python" -m espnet_kd.bin.prune --exp "$phase1" --out "$pruned" "${exactly[@]}"
        "$python" -m espnet_kd.bin.profile "$pruned" --json "$exp/pruned.profile.json"
        mark_done "$exp/.done_prune" "$exact" "${sum%% *}"
    fi
    split_words more "$phase2_args"
    train "$config2" "$phase2" --student "$pruned" \
        --kd_conf "objectives.layer_distill.projections=$pruned" "${more[@]}"
    export_student "$phase2" 4
    if ! $exact; then
        "$python" ../dphubert1/local/publish.py --student "$student_dir" \
            --teacher "$teacher_dir" --config "$phase2/config.yaml" --out "$exp/$system.pth"
    fi
fi

if stage 5 "Decode: SUPERB ASR" "a day on one GPU (estimate), 2 GB" \
    "WER 10.47 (DPHuBERT, published), 10.19 (DPWavLM)"; then
    need "$datadir/bucket/test-clean.csv" 2 "the tables of S3PRL"
    downstream asr
fi

if stage 6 "SUPERB: $superb_tasks" "two days on one GPU (estimate), 3 GB" \
    "PER 9.67, KS 96.36, SID 76.83 (DPHuBERT, published), 8.22, 96.27, 82.11 (DPWavLM)"; then
    # shellcheck disable=SC2086
    [ -z "$superb_tasks" ] || downstream $superb_tasks
    score "$system" phase2 student hours sparsity seed exact epoch phase1_args phase2_args \
        seconds_per_update superb_variant superb_conf superb_args
fi

if stage 7 "Pack the student" "seconds, 0.1 GB" "one zip file with README.md"; then
    pack "$system" "$phase1" "$phase2"
fi

if stage 8 "Upload" "a minute, needs a token of the Hugging Face Hub"; then
    upload
fi

stages_done
