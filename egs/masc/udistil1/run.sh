#!/usr/bin/env bash
# uDistil-Whisper, Arabic: Whisper large-v2 labels 100 000 or 500 000 utterances of MASC and six more
# corpora; students of fewer encoder and decoder layers learn from the labels that a measure, without
# any transcript, believes.
#
#   ./run.sh                                             # 100K, 16-16 layers, proxy filter, one GPU
#   ./run.sh --layers "8-8 16-16 16-32 32-16" --filters "none wer proxy sonar conf"    # a grid
#   ./run.sh --set_up 500K --layers "16-16 32-16" --filters "wer proxy sonar" --ngpu 8 # "++"
#   ./run.sh --filters "proxy sonar" --proxy_text seamless.txt --limits "proxy=60 sonar@0.8"  # own
#   ./run.sh --stage 1 --teacher DIR --train_source kaldi:DIR --tests "own=kaldi:DIR" --ngpu 0
#
# Stages: 0 checks and teacher; 1 training and test data; 2 teacher's WER, pseudo-labels, filters and
# their AUC; 3 shrink and distil each student; 4 export; 5 recognise the test sets; 6 table and
# report; 7 model cards and packages; 8 upload. What was started goes on where it stopped; only
# stages 0 to 2 use the network, and only for models and data that are not there.
#
# Filters: none; wer (supervised, needs transcripts); proxy (WER against a second recogniser), sonar
# (speech and text embeddings), conf and entropy (of the teacher), nnll (a language model, --lm), pesq
# and mcd (the label spoken by a synthesiser), compression, repetition. Published is the threshold of
# wer, 80 %. Those of the others could not be found: 80 % for proxy, and the best 75 % of the labels
# for all others, are our own choices.
#
# Layers: the paper's students have 16-16 and 32-16 (100K and 500K), its repository also 8-8 and
# 16-32 (100K); any other numbers up to the teacher's work.
#
# Cost per student of 100K: 20 GB and, with all labels kept, 7810 updates of 128 utterances: on one H100
# 10 hours for 16-16 layers and 13 for 32-16, on eight an eighth; of 500K five times as much.
# Labelling 100K once: 2 hours. All are estimates from timings of transformers' models of these sizes
# with random weights on one H100 (0.56 and 0.76 s for 16 utterances with labels of 100 tokens; 64
# segments labelled with 200 tokens in 4.1 s). Disk and downloads are guesses.
set -euo pipefail
cd "$(dirname "$0")"

stage=0                 # first stage to run
stop_stage=7            # last stage to run; 8 uploads
skip_stages=""          # stages to leave out, such as "5 6"
set_up=100K             # 100K, 500K or 1M utterances, or all
layers="16-16"          # students, ENCODER-DECODER: "8-8 16-16 16-32 32-16"
filters=proxy           # one student for each: "none wer proxy sonar conf entropy nnll pesq"
limits=""               # instead of the above: "wer=80 proxy=60 conf@0.8" (@: share that is kept)
language=ar             # code of the language
train_source=""         # KIND:PLACE, several joined; the hub's set of --set_up when empty
valid_source=""         # the hub's test split of it when empty
valid_utterances=1000   # of it, to validate on
columns=""              # columns of these with other names than usual, "text=transcript"
tests=published         # NAME=KIND:PLACE ...; published: fleurs mgb2 mgb3 mgb5 sada of the hub
test_columns="fleurs:text=transcription fleurs:id=path sada:text=raw_transcript"  # NAME:ROLE=COLUMN
commonvoice=""          # unpacked Common Voice release, whose Arabic test split joins the tests as cv15
max_bad_share=0.01      # share of unusable recordings that is left out
teacher=openai/whisper-large-v2  # a Whisper folder, or a repository of the hub
teacher_revision=""     # its commit or tag
teacher_max_wer=80      # stop where the teacher's WER (%) is above; 0 = never (published: 41.9)
prove_utterances=200    # of the validation data, for that
proxy_text=""           # Kaldi text of a second recogniser's output (published: SeamlessM4T)
proxy_model=openai/whisper-large-v3  # or a recogniser to run: a folder, or a Whisper on the hub
lm=""                   # folder of a causal language model of the language, for nnll
judge=auto              # AUC of the filters: true, false; auto: where there are transcripts
max_seconds=30          # window of the models; longer utterances are cut where it is quiet
label_batch=80          # utterances labelled together on a GPU
label_args=""           # further options of whisper_pseudo_label: "--backend ctranslate2"
filter_args=""          # ... of whisper_filter: "--embedder DIR --tts_voice ar"
train_args=""           # ... of whisper_distill_train: "--max_epoch 5 --kd_conf '{...}'"
eval_args=""            # ... of whisper_evaluate
eval_batch=16           # recordings recognised together
ngpu=1                  # GPUs per node, 0 = CPU
num_nodes=1             # nodes
hosts=""                # instead of num_nodes: hosts reached by ssh, host1:0:1,host2:0:1
utterances_per_update=0 # 0 = published: 128
per_gpu=16              # utterances of a batch on one GPU, at most
num_workers=4           # processes that load data
nj=4                    # recordings read at a time in stage 1
seed=0                  # of training and draws
epoch=latest            # what to export: latest (published), valid.wer.ave, 5epoch ...
datadir=data            # Kaldi folders
expdir=exp              # everything that is made of them
tag=""                  # added to the experiment's name
hf_repo=""              # stage 8: NAME/MODEL, for the first student
license=""              # of the weights, for the model card: apache-2.0 ...
python=""               # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/stages.sh
stages_check 0 8
from_start teacher commonvoice proxy_text proxy_model lm datadir expdir
. ../../TEMPLATE/distil_whisper.sh

case "$set_up" in
    100K) most=100000 ;;
    500K) most=500000 ;;
    1M) most=1000000 ;;
    all) most=0 ;;
    *) die "--set_up $set_up: choose 100K, 500K, 1M or all" ;;
esac
hub=dataset:UBC-NLP/masc_cv15_asc_fleurs_mgb5_mgb2_qasr_$set_up
if [ -z "$train_source" ]; then
    [ "$set_up" != all ] || die "--set_up all needs a --train_source"
    train_source=$hub@train
fi
valid_source=${valid_source:-$hub@test}
if [ "$tests" = published ]; then
    tests="fleurs=dataset:google/fleurs#ar_eg@test"
    for name in mgb2=MGB2-Eval mgb3=MGB3 mgb5=MGB5 sada=SADA2022-eval; do
        tests+=" ${name%=*}=dataset:UBC-NLP/${name#*=}@test"
    done
fi
if [ -n "$commonvoice" ]; then tests+=" cv15=commonvoice:$commonvoice@test"; fi
case "$judge" in auto | true | false) ;; *) die "--judge $judge: choose auto, true or false" ;; esac
for pair in $layers; do
    [[ $pair =~ ^[1-9][0-9]*-[1-9][0-9]*$ ]] || die "--layers: $pair is not ENCODER-DECODER"
done
known="wer proxy sonar conf entropy nnll pesq mcd compression repetition agreement"
for word in $filters; do
    [[ " none $known " == *" $word "* ]] || die "--filters: $word is unknown; choose none $known"
done
for word in $limits; do
    [[ $word =~ ^([a-z]+)[=@][-+.0-9e]+$ && " $known " == *" ${BASH_REMATCH[1]} "* ]] ||
        die "--limits: $word is not MEASURE=NUMBER or MEASURE@SHARE; measures are $known"
    [[ " $filters " == *" ${BASH_REMATCH[1]} "* ]] ||
        say "--limits: $word is not used, as ${BASH_REMATCH[1]} is none of --filters"
done
corpus_name=arabic
data=$datadir/$set_up
exp=$expdir/udistil_$set_up${tag:+_$tag}
locate_teacher
conf=$MAIN_ROOT/conf/udistil_whisper

# name_of LAYERS FILTER: the student.
name_of() { echo "udw_$1_${set_up}_$2"; }

# each_student COMMAND...: COMMAND LAYERS FILTER NAME for all students.
each_student() {
    local pair filter
    for pair in $layers; do
        for filter in $filters; do "$@" "$pair" "$filter" "$(name_of "$pair" "$filter")"; done
    done
}

# limit_of MEASURE: "limit", the words that set its limit.
limit_of() {
    local measure=$1 word
    case "$measure" in
        wer | proxy) limit=(--threshold "$measure=80") ;;
        *) limit=(--quantile "$measure=0.75") ;;
    esac
    for word in $limits; do
        case "$word" in
            "$measure="*) limit=(--threshold "$word") ;;
            "$measure@"*) limit=(--quantile "${word/@/=}") ;;
        esac
    done
}

# needs_of MEASURE...: "needs", the words that measures need.
needs_of() {
    local measure
    needs=()
    for measure in "$@"; do
        case "$measure" in
            proxy)
                if [ -n "$proxy_text" ]; then
                    needs+=(--proxy_text "$proxy_text")
                else
                    needs+=(--proxy_model "$proxy_model")
                fi
                ;;
            nnll)
                [ -n "$lm" ] || die "the filter nnll needs --lm DIR, a causal language model"
                needs+=(--lm "$lm")
                ;;
        esac
    done
    if ((ngpu > 0)); then needs+=(--device cuda); fi
}

# filter_labels OUT WORD...: bin.whisper_filter of the labels.
filter_labels() {
    local out=$1 more
    shift
    split_words more "$filter_args"
    derive "$out" "$python" -m espnet_kd.bin.whisper_filter --labels "$exp/labels/train" \
        --out "$out" "${spoken[@]}" --normaliser arabic "$@" "${needs[@]}" "${more[@]}"
}

# kept_of FILTER: the labels that a student of it learns from.
kept_of() {
    if [ "$1" = none ]; then echo "$exp/labels/train"; else echo "$exp/filtered/$1/kept"; fi
}

train_one() { # LAYERS FILTER NAME
    local config=$conf/udistil_label_free.yaml labels start=$exp/start/$1
    labels=$(kept_of "$2")
    need "$labels/labels.jsonl" 2 "labels"
    encoder_layers=${1%-*} decoder_layers=${1#*-} shrink "$start"
    local limit limited=()
    if [ "$2" = wer ]; then
        config=$conf/udistil_supervised.yaml
        limit_of wer
        case "${limit[0]}" in
            --threshold) limited=(--kd_conf "wer_threshold=${limit[1]#*=}") ;;
            *) config=$conf/udistil_label_free.yaml ;; # the filter has used a share
        esac
    fi
    say "    $3"
    train_student "$config" "$exp/train/$3" "$start" --train_dir "$labels" \
        --valid_dir "$data/valid" "${limited[@]}"
}

export_one() { # LAYERS FILTER NAME
    export_student "$exp/train/$3" "$exp/students/$3"
    "$python" ../../TEMPLATE/prove_whisper.py "$exp/students/$3" --json "$exp/students/$3.json"
}

evaluate_one() { # LAYERS FILTER NAME
    need "$exp/students/$3/config.json" 4 "the student $3"
    evaluate "$exp/decode/$3" --models "$exp/students/$3" --data "${sets[@]}" \
        --dataset_id "$corpus_name" --normaliser arabic
}

collect_one() { # LAYERS FILTER NAME
    need "$exp/decode/$3" 5 "the scores of $3"
    "$python" ../../TEMPLATE/collect_whisper.py --folders "short=$exp/decode/$3" \
        --models "student:$3=$3" --curves "$3=$exp/train/$3/tensorboard" \
        --description "$3=$1 layers, filter $2" "${table[@]}"
    runs+=("$exp/results/$3.json")
}

pack_one() { pack "$3" "$exp/train/$3" "$exp/students/$3"; }

if stage 0 "Checks, teacher" "10 minutes with the download, 3 GB" \
    "1543.3 M parameters, 32-32 layers (large-v2); an encoder that hears"; then
    prepare_teacher 80
fi

if stage 1 "Training and test data" "2 hours with the download, 40 GB (500K: 200 GB); guesses" \
    "100000 utterances to learn from (500K: 500000), and the test sets with transcripts"; then
    prepare train "$train_source" --max_utterances "$most" --seed "$seed"
    prepare valid "$valid_source" --max_utterances "$valid_utterances" --seed "$seed"
    for test in $tests; do
        name=${test%%=*} own=""
        for word in $test_columns; do
            if [ "${word%%:*}" = "$name" ]; then own+=" ${word#*:}"; fi
        done
        columns=$own prepare "test/$name" "${test#*=}"
    done
fi

if stage 2 "Teacher's WER, pseudo-labels, filters and their AUC" \
    "2 hours on one H100 to label 100K (estimate), as many for proxy (a guess); 2 GB" \
    "AUC for a WER above 80 %: proxy 0.82, sonar 0.77, conf 0.68 (published)"; then
    prove_teacher valid
    label train --concatenate_audio false --max_label_length 225
    # shellcheck disable=SC2086
    mapfile -t measures < <(unique $filters | grep -v -x -e none -e wer || true)
    if [ "$judge" = true ] || { [ "$judge" = auto ] && [ -f "$data/train/text" ]; }; then
        if ((${#measures[@]})); then
            needs_of "${measures[@]}"
            judged=$exp/filtered/auc_$(IFS=_ && echo "${measures[*]}")
            filter_labels "$judged" --evaluate --measures "${measures[@]}"
            cat "$judged/auc.md"
        fi
    fi
    # shellcheck disable=SC2086
    for filter in $(unique $filters); do
        if [ "$filter" = none ]; then continue; fi
        needs_of "$filter"
        limit_of "$filter"
        filter_labels "$exp/filtered/$filter" "${limit[@]}"
    done
fi

if stage 3 "Shrink and distil: $layers x $filters" \
    "10 to 13 hours of one H100 per student of 100K, five times that of 500K (estimates); 20 GB each" \
    "a validation WER that falls from epoch to epoch"; then
    need "$data/valid/text" 1 "the validation set"
    each_student train_one
fi

if stage 4 "Export" "1 minute and 4 GB per student" \
    "0.80 B parameters for 16-16 layers, 1.12 B for 32-16 (published)"; then
    each_student export_one
fi

if stage 5 "Recognise the test sets" "two hours per model on one GPU (a guess), 10 MB" \
    "students of 32-16 layers ahead of their teacher (published: 36.3 against 41.9)"; then
    sets=()
    for test in $tests; do
        need "$data/test/${test%%=*}/text" 1 "a test set"
        sets+=("$data/test/${test%%=*}")
    done
    evaluate "$exp/decode/teacher" --models "$teacher_dir" --data "${sets[@]}" \
        --dataset_id "$corpus_name" --normaliser arabic
    each_student evaluate_one
fi

if stage 6 "Table and report" "10 s" "one row per model in RESULTS.md"; then
    need "$exp/decode/teacher" 5 "the scores of the teacher"
    runs=("$exp/results/$teacher_name.json")
    table=(--rates WER CER --average bench=cv15,mgb2,mgb3,mgb5,fleurs --out "$exp/results"
        --corpus "$corpus_name" --published published.yaml --seed "$seed"
        --command "egs/masc/udistil1/run.sh$(options_of set_up layers filters limits seed epoch \
            utterances_per_update label_args filter_args train_args eval_args)")
    "$python" ../../TEMPLATE/collect_whisper.py --folders "short=$exp/decode/teacher" \
        --models "teacher:$teacher_name=$(basename "$teacher_dir")" "${table[@]}"
    each_student collect_one
    "$python" -m espnet_kd.bin.report --out "$exp/report" --runs "${runs[@]}" \
        --title "uDistil-Whisper, $set_up utterances"
fi

if stage 7 "Model cards and packages" "a minute and 4 GB per student" "a zip file with README.md"; then
    each_student pack_one
fi

if stage 8 "Upload" "minutes, needs a token of the Hugging Face Hub"; then
    upload "$exp/students/$(name_of "${layers%% *}" "${filters%% *}")"
fi

stages_done
