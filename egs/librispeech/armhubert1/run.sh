#!/usr/bin/env bash
# ARMHuBERT, ARMwavLM, MaskHuBERT and STaRHuBERT as published: distilled on LibriSpeech from HuBERT
# Base or WavLM Base, scored with SUPERB.
#
#   ./run.sh                                          # everything, ARMHuBERT on 960 h, one GPU
#   ./run.sh --student armhubert_s --hours 100        # the small experiment
#   ./run.sh --ngpu 8                                 # eight GPUs of one machine
#   ./run.sh --stage 3 --ngpu 8 --num_nodes 2         # two nodes; set cuda_cmd in cmd.sh
#   ./run.sh --stage 3 --stop_stage 3 --hosts node1:0:1,node2:0:1    # two nodes through ssh
#   ./run.sh --stage 1 --teacher DIR --librispeech DIR --ngpu 0      # own teacher, own speech, CPU
#
# On any number of GPUs an update sees as many utterances as published (144 for 960 h, 36 for
# 100 h). What was started goes on where it stopped; only stages 0 and 1 use the network, and only
# for what is not there.
#
# Cost with the defaults: 70 GB of disk (100 h: 10 GB). Training does about 2.6e19 floating-point
# operations (100 h: 2.6e18), counted from the models' MACs: some 60 hours of one A100 (100 h: 6
# hours) if it reaches 120 TFLOP/s. Estimated, not measured.
set -euo pipefail
cd "$(dirname "$0")"

stage=0                 # first stage to run
stop_stage=7            # last stage to run; 8 uploads
skip_stages=""          # stages to leave out, such as "5 6"
student=armhubert       # armhubert, armhubert_s, armwavlm, maskhubert, starhubert, starhubert_l
hours=960               # 960 or 100: hours of LibriSpeech to distil on
teacher=""              # own teacher: a folder, or fairseq's .pt; fetched when empty
teacher_source=huggingface  # where to fetch it: huggingface, or fairseq (HuBERT only)
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
utterances_per_update=0 # 0 = published: 144 (960 h) or 36 (100 h)
per_gpu=0               # utterances of a batch on one GPU, at most; 0 = published: 18 or 6
num_workers=4           # processes that load data
seed=0                  # of training and downstream tasks
train_args=""           # further options of ssl_distill_train: "--max_epoch 100 --kd_conf '{...}'"
epoch=valid.loss.ave    # what to export: the average of the best epochs, latest, 100epoch ...
superb_tasks="pr ks sid"  # stage 6; ASR is stage 5
superb_models=student   # "teacher student": also prove the teacher, for as much again
superb_variant=armhubert  # the authors' schedules; "" = SUPERB's own
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
from_start teacher librispeech speech_commands voxceleb superb_conf datadir expdir
. ../common/librispeech.sh

[ "$student" != armwavlm ] || student=armwavlm_s
system=${student}_${hours}h
config=$(echo "$MAIN_ROOT"/conf/*/"$system.yaml")
if [ ! -f "$config" ]; then
    die "--student $student --hours $hours was not published; there are:" \
        "$(cd "$MAIN_ROOT/conf" && echo arm*/*.yaml mask*/*.yaml star*/*.yaml)"
fi
training_data "$hours"
exp=$expdir/$system${tag:+_$tag}
train_dir=$exp/train
student_dir=$exp/student
case "$student" in
    armwavlm*) locate_teacher wavlm_base ;;
    *) locate_teacher hubert_base ;;
esac
# downstream tasks need these splits, whatever is distilled
# shellcheck disable=SC2086
mapfile -t all_splits < <(unique $train_splits train-clean-100 dev-clean test-clean)

if stage 0 "Checks, teacher" "10 minutes with the download, 0.8 GB" \
    "a teacher of 94.4 M parameters whose 12 layers are finite; it is worth PER 5.41, WER 6.42 (WavLM Base: 4.84, 6.21): --superb_models 'teacher student' measures it"; then
    prepare_teacher 70
fi

if stage 1 "Data" "2 hours with the download, 62 GB (100 h: 7 GB); 10 minutes without" \
    "281241 utterances, 960.9 h (100 h: 28539, 100.6 h), every header checked"; then
    prepare_splits "${all_splits[@]}"
fi

if stage 2 "Training set, tables for S3PRL" "2 minutes, 0.1 GB"; then
    # shellcheck disable=SC2086
    join_splits "$train_set" $train_splits
    bucket_tables
fi

if stage 3 "Distil $system" "960 h: some 60 GPU hours, 100 h: 6 (estimates, see --help); 1.5 GB" \
    "a valid loss that falls from epoch to epoch"; then
    need "$teacher_dir/config.json" 0 "the teacher"
    need "$datadir/$train_set/utt2num_samples" 2 "the training set"
    need "$datadir/dev-clean/utt2num_samples" 1 "the validation set"
    streams_of "$train_set" dev-clean
    batch=$("$python" local/batch_plan.py --config "$config" --processes "$(processes)" \
        --utterances "$utterances_per_update" --per_gpu "$per_gpu")
    say "    ${batch% *} utterances per batch over $(processes) process(es)," \
        "${batch#* } batches per update"
    split_words more "$train_args"
    command=("$python" -m espnet_kd.bin.ssl_distill_train --config "$config"
        --teacher "$teacher_dir" --output_dir "$train_dir" "${streams[@]}"
        --batch_size "${batch% *}" --accum_grad "${batch#* }" "${more[@]}")
    if ! is_done "$train_dir/.done" "${command[@]}"; then
        launch "$train_dir" "${command[@]}"
        mark_done "$train_dir/.done" "${command[@]}"
    fi
fi

if stage 4 "Export and profile" "1 minute, 0.1 GB" \
    "26.45 M parameters (S: 22.39, MaskHuBERT: 26.64, STaR: 22.31, STaR-L: 26.63)"; then
    export_student "$train_dir" 3
fi

if stage 5 "Decode: SUPERB ASR" "a day on one GPU (estimate), 2 GB" \
    "WER 9.96 (ARMHuBERT, published)"; then
    need "$datadir/bucket/test-clean.csv" 2 "the tables of S3PRL"
    downstream asr
fi

if stage 6 "SUPERB: $superb_tasks" "two days on one GPU (estimate), 3 GB" \
    "PER 7.72, KS 96.88, SID 65.03 (ARMHuBERT, published)"; then
    # shellcheck disable=SC2086
    [ -z "$superb_tasks" ] || downstream $superb_tasks
    score "$system" train student hours seed epoch train_args utterances_per_update \
        superb_variant superb_conf superb_args
fi

if stage 7 "Pack the student" "seconds, 0.1 GB" "one zip file with README.md"; then
    pack "$system" "$train_dir"
fi

if stage 8 "Upload" "a minute, needs a token of the Hugging Face Hub"; then
    upload
fi

stages_done
