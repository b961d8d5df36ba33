#!/usr/bin/env bash
# Distil-Whisper on Common Voice, as in the original's walk-through: Whisper large-v3 labels Hindi,
# and a Whisper with its encoder and two decoder layers learns from the labels and the teacher.
#
#   ./run.sh --corpus commonvoice:cv-corpus-16.1-2023-12-06      # Hindi, an unpacked release, one GPU
#   ./run.sh --corpus commonvoice:DIR --language sw --wer_threshold 40     # another language
#   ./run.sh --corpus kaldi:DIR --language hi                    # DIR/train, DIR/dev and DIR/test
#   ./run.sh --corpus dataset:NAME#CONFIG                        # a dataset, saved or on the hub
#   ./run.sh --train_splits "train dev" --valid_split test --train_samples "7 4"   # as published
#   ./run.sh --stage 3 --ngpu 4                                  # train on four GPUs of a machine
#   ./run.sh --stage 1 --teacher DIR --corpus kaldi:DIR --ngpu 0 # own teacher, own speech, CPU
#
# Stages: 0 checks and teacher; 1 data; 2 teacher's WER, pseudo-labels, WER filter; 3 shrink and
# distil; 4 export; 5 recognise short and long recordings, draft for the teacher; 6 table and report;
# 7 model card and package; 8 upload. What was started goes on where it stopped; only stages 0 and 1
# use the network, and only for what is not there.
#
# Common Voice is downloaded from its own site after a login there; its copies on the hub come with
# a loading script or not at all, and such scripts are never run. The published walk-through draws
# its splits train and validation 7 : 4 and validates on test, "purely to demonstrate"; here train
# trains and dev validates, as it advises.
#
# Cost with the defaults (20 h of Hindi): 30 GB of disk. Published for one A100 of 80 GB: 15 minutes to
# label, an hour to train. Estimated for one H100: 5 and 40 minutes, from timings of transformers'
# models of these sizes with random weights there (0.43 s per update of 32 labels of 256 tokens; 64
# segments of 30 s labelled with 200 tokens in 4.1 s). The rest, another hour, is a guess.
set -euo pipefail
cd "$(dirname "$0")"

stage=0                 # first stage to run
stop_stage=7            # last stage to run; 8 uploads
skip_stages=""          # stages to leave out, such as "5 6"
language=hi             # code of the language
corpus=dataset:mozilla-foundation/common_voice_16_1  # commonvoice:DIR, kaldi:DIR, dataset:NAME#CONFIG
archive=""              # a downloaded release to unpack for commonvoice:DIR, a file or an address
train_splits=train      # splits to label and train on
train_samples=""        # weights of these splits in an epoch, "7 4"; all utterances once when empty
valid_split=dev         # split to validate on
test_split=test         # split to score
columns=""              # columns with other names than usual, "text=sentence speaker=client_id"
ood_test=auto           # a test set of other speech, KIND:PLACE; auto: FLEURS for hi; none when empty
ood_columns="text=transcription id=path"  # its columns; the id of FLEURS names sentences
long_test=""            # Kaldi folder of long recordings; clips of the test set are joined when empty
long_seconds=120        # to that length; 0: no long recordings
max_bad_share=0.01      # share of unusable recordings that is left out
teacher=openai/whisper-large-v3  # a Whisper folder, or a repository of the hub
teacher_revision=""     # its commit or tag
teacher_max_wer=40      # stop where the teacher's WER (%) is above; 0 = never (published: 17.2)
prove_utterances=200    # of the validation split, for that
encoder_layers=""       # all when empty
decoder_layers=2        # first and last
config=""               # experiment file, instead of conf/distil_whisper/distil_hindi.yaml
wer_threshold=""        # labels with a WER (%) below are kept; that of the experiment file when empty
max_seconds=30          # window of the models
use_speakers=false      # true: join only utterances of one speaker (published: false)
label_batch=64          # segments labelled together on a GPU
label_args=""           # further options of whisper_pseudo_label: "--backend ctranslate2"
filter_args=""          # ... of whisper_filter
train_args=""           # ... of whisper_distill_train: "--max_epoch 10 --kd_conf '{...}'"
eval_args=""            # ... of whisper_evaluate
eval_batch=16           # recordings recognised together
chunk_seconds=25        # of the chunked long form
draft_utterances=200    # of the test split, to measure the student as a draft; 0: leave that out
ngpu=1                  # GPUs per node, 0 = CPU
num_nodes=1             # nodes
hosts=""                # instead of num_nodes: hosts reached by ssh, host1:0:1,host2:0:1
utterances_per_update=0 # 0 = published: 32
per_gpu=32              # utterances of a batch on one GPU, at most
num_workers=4           # processes that load data
nj=4                    # recordings read at a time in stage 1
seed=0                  # of training and draws
epoch=valid.wer.ave     # what to export: the average of the best epochs, latest, 3epoch ...
ctranslate2=false       # true: stage 4 also converts the student for faster-whisper
datadir=data            # Kaldi folders
expdir=exp              # everything that is made of them
tag=""                  # added to the experiment's name
hf_repo=""              # stage 8: NAME/MODEL
license=""              # of the weights, for the model card: apache-2.0 ...
python=""               # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/stages.sh
stages_check 0 8
from_start archive long_test teacher config datadir expdir
. ../../TEMPLATE/distil_whisper.sh

config=${config:-$MAIN_ROOT/conf/distil_whisper/distil_hindi.yaml}
[ -f "$config" ] || die "--config $config: no such file"
wer_threshold=${wer_threshold:-$(sed -n 's/^ *wer_threshold: *\([0-9.]*\).*/\1/p' "$config")}
[ -n "$wer_threshold" ] || die "$config has no wer_threshold; give --wer_threshold"
kind=${corpus%%:*} place=${corpus#*:}
from_start place
corpus_name=commonvoice_$language
system=distil_whisper_$language
data=$datadir/$language
exp=$expdir/$system${tag:+_$tag}
train_dir=$exp/train
student_dir=$exp/student
locate_teacher
if [ "$ood_test" = auto ]; then
    ood_test=""
    if [ "$language" = hi ]; then ood_test=dataset:google/fleurs#hi_in@test; fi
fi

# source_of SPLIT: where a split comes from.
source_of() {
    local split=$1
    case "$kind" in
        dataset)
            # The hub calls it validation, and has a configuration per language.
            if [ "$split" = dev ]; then split=validation; fi
            if [[ $place != *'#'* && ! -d $place ]]; then place+="#$language"; fi
            ;;
        commonvoice | kaldi) ;;
        *) die "--corpus $corpus: write commonvoice:DIR, kaldi:DIR or dataset:NAME#CONFIG" ;;
    esac
    echo "$kind:$place@$split"
}

if stage 0 "Checks, teacher" "10 minutes with the download, 3 GB" \
    "1543.5 M parameters, 32-32 layers (large-v3); an encoder that hears"; then
    prepare_teacher 30
fi

if stage 1 "Data" "10 minutes for 20 h (a guess), 2 GB; a download comes on top" \
    "train, dev and test with transcripts; 20 h in all for Hindi"; then
    if [ -n "$archive" ] && [ ! -d "$place" ]; then
        "$python" ../../TEMPLATE/unpack.py "$archive" --out "$place"
    fi
    # shellcheck disable=SC2086
    for split in $(unique $train_splits $valid_split $test_split); do
        prepare "$split" "$(source_of "$split")"
    done
    if [ -n "$ood_test" ]; then columns=$ood_columns prepare ood "$ood_test"; fi
    if [ -z "$long_test" ] && ((long_seconds > 0)); then
        "$python" ../../TEMPLATE/join_recordings.py "$data/$test_split" --out "$data/long" \
            --seconds "$long_seconds"
    fi
fi

if stage 2 "Teacher's WER, pseudo-labels, WER filter" "15 minutes for 20 h (published); 2 GB" \
    "a teacher's WER near 17.2 % (published, test split); most labels below $wer_threshold % WER"; then
    prove_teacher "$valid_split"
    split_words more "$filter_args"
    for split in $train_splits; do
        label "$split" --use_speakers "$use_speakers" --preprocessing_batch_size 500
        derive "$exp/filtered/$split" "$python" -m espnet_kd.bin.whisper_filter \
            --labels "$exp/labels/$split" --out "$exp/filtered/$split" "${spoken[@]}" \
            --threshold "wer=$wer_threshold" "${more[@]}"
    done
fi

if stage 3 "Shrink and distil $system" "an hour on one A100 (published), 40 minutes on one H100 (estimate); 12 GB" \
    "a validation WER that falls from epoch to epoch"; then
    folders=()
    for split in $train_splits; do
        need "$exp/filtered/$split/kept/labels.jsonl" 2 "labels of $split"
        folders+=("$exp/filtered/$split/kept")
    done
    need "$data/$valid_split/text" 1 "the validation set"
    shrink "$exp/start"
    weights=()
    if [ -n "$train_samples" ]; then
        weights=(--kd_conf "train_dataset_samples=[${train_samples// /,}]")
    fi
    train_student "$config" "$train_dir" "$exp/start" --train_dir "${folders[@]}" \
        --valid_dir "$data/$valid_split" --kd_conf "wer_threshold=$wer_threshold" "${weights[@]}"
fi

if stage 4 "Export" "1 minute, 3 GB" "756 M parameters for 32-2 layers (published)"; then
    export_student "$train_dir" "$student_dir"
    "$python" ../../TEMPLATE/prove_whisper.py "$student_dir" --json "$exp/student.json"
    if $ctranslate2; then
        "$python" ../../TEMPLATE/convert_ctranslate2.py "$student_dir" --out "$exp/ctranslate2"
    fi
fi

if stage 5 "Recognise: short, long (sequential, chunked), drafted" \
    "an hour on one GPU (a guess), 10 MB" \
    "a student behind its teacher in WER and ahead in RTFx; identical drafted texts"; then
    need "$student_dir/config.json" 4 "the student"
    need "$data/$test_split/wav.scp" 1 "the test set"
    models=(--models "$teacher_dir" "$student_dir" --dataset_id "$corpus_name")
    sets=("$data/$test_split")
    if [ -n "$ood_test" ]; then sets+=("$data/ood"); fi
    evaluate "$exp/decode/short" "${models[@]}" --data "${sets[@]}"
    if [ -n "$long_test" ] || ((long_seconds > 0)); then
        evaluate "$exp/decode/sequential" "${models[@]}" --data "${long_test:-$data/long}"
        evaluate "$exp/decode/chunked" "${models[@]}" --data "${long_test:-$data/long}" \
            --long_form chunked --chunk_seconds "$chunk_seconds"
    fi
    if ((draft_utterances > 0)); then
        draw draft "$test_split" "$draft_utterances"
        evaluate "$exp/decode/draft" --models "$teacher_dir" --assistant "$student_dir" \
            --data "$data/draft" --dataset_id "$corpus_name"
    fi
fi

if stage 6 "Table and report" "10 s" "one row per model in RESULTS.md"; then
    folders=()
    for kind in short sequential chunked draft; do
        if [ -d "$exp/decode/$kind" ]; then folders+=("$kind=$exp/decode/$kind"); fi
    done
    ((${#folders[@]})) || need "$exp/decode/short" 5 "the scores"
    "$python" ../../TEMPLATE/collect_whisper.py --folders "${folders[@]}" --out "$exp/results" \
        --models "teacher:$teacher_name=$(basename "$teacher_dir")" "student:$system=student" \
        --corpus "$corpus_name" --published published.yaml --seed "$seed" \
        --curves "$system=$train_dir/tensorboard" \
        --command "egs/commonvoice/distil_whisper1/run.sh$(options_of language train_splits \
            train_samples valid_split encoder_layers decoder_layers wer_threshold use_speakers \
            seed epoch utterances_per_update label_args filter_args train_args eval_args)"
    "$python" -m espnet_kd.bin.report --out "$exp/report" --title "$system on $corpus_name" \
        --runs "$exp/results/$teacher_name.json" "$exp/results/$system.json"
fi

if stage 7 "Model card and package" "a minute, 3 GB" "one zip file with README.md"; then
    pack "$system" "$train_dir" "$student_dir"
fi

if stage 8 "Upload" "minutes, needs a token of the Hugging Face Hub"; then
    upload "$student_dir"
fi

stages_done
