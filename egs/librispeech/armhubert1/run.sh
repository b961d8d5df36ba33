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
if [ -d "$librispeech/LibriSpeech" ]; then librispeech=$librispeech/LibriSpeech; fi

[ "$student" != armwavlm ] || student=armwavlm_s
system=${student}_${hours}h
config=$(echo "$MAIN_ROOT"/conf/*/"$system.yaml")
if [ ! -f "$config" ]; then
    die "--student $student --hours $hours was not published; there are:" \
        "$(cd "$MAIN_ROOT/conf" && echo arm*/*.yaml mask*/*.yaml star*/*.yaml)"
fi
case "$student" in
    armwavlm*) teacher_name=wavlm_base ;;
    *) teacher_name=hubert_base ;;
esac
case "$hours" in
    100) train_splits="train-clean-100" train_set=train-clean-100 ;;
    *) train_splits="train-clean-100 train-clean-360 train-other-500" train_set=train-960 ;;
esac
exp=$expdir/$system${tag:+_$tag}
train_dir=$exp/train
student_dir=$exp/student
# A teacher in our format is used where it is; others are converted into the experiment's folder.
teacher_dir=$expdir/teachers/${teacher_name}
if [ -n "$teacher" ]; then
    teacher_name=$(basename "$teacher" .pt)
    teacher_dir=$expdir/teachers/$teacher_name
    if grep -qs espnet_kd_speech_encoder "$teacher/config.json"; then teacher_dir=$teacher; fi
fi
# downstream tasks need train-clean-100, dev-clean and test-clean of LibriSpeech, whatever is distilled
all_splits=$(echo "$train_splits train-clean-100 dev-clean test-clean" | tr ' ' '\n' | awk '!seen[$0]++')
commands_dir=${speech_commands:-downloads/SpeechCommands}
lexicon_files=${lexicon:-downloads/lexicon/librispeech-lexicon-200k-g2p.txt \
    downloads/lexicon/librispeech-lexicon-allothers-g2p.txt}
# Lines of the training log that the terminal shows, and how much of them.
watch='epoch results|% done|[Ee]rror:|[Rr]esum'
watch_edit='s/^\[[^]]*\] [0-9 :,-]+\([^)]*\) [A-Z]+: /    /
s/\[train\][^[]* loss=([^,]+),[^[]*\[valid\] loss=([^,]+).*/train loss \1, valid loss \2/'
export watch watch_edit

options_of() { # NAME...: those that are set, as they are typed
    local name
    for name in "$@"; do
        case "${!name}" in '' | 0) ;; *) printf ' --%s %q' "$name" "${!name}" ;; esac
    done
}

wants() { [[ " $superb_tasks " == *" $1 "* ]]; }

if stage 0 "Checks, teacher" "10 minutes with the download, 0.8 GB" \
    "a teacher of 94.4 M parameters whose 12 layers are finite; it is worth PER 5.41, WER 6.42 (WavLM Base: 4.84, 6.21): --superb_models 'teacher student' measures it"; then
    "$python" local/check.py --ngpu "$ngpu" --want_gb 70
    if [ ! -f "$teacher_dir/config.json" ]; then
        source=$teacher format=huggingface
        if [ -z "$teacher" ]; then
            source=downloads/teachers/$teacher_name
            "$python" local/download.py teacher --name "$teacher_name" --out "$source" \
                --source "$teacher_source" --revision "$teacher_revision" --sha256 "$teacher_sha256"
            [ "$teacher_source" = huggingface ] || source=$source.pt
        fi
        [ -e "$source" ] || die "--teacher $source: no such file or folder"
        [ -d "$source" ] || format=fairseq
        "$python" -m espnet_kd.bin.convert --from "$format" --src "$source" --dst "$teacher_dir"
    fi
    expect=""
    [ -n "$teacher" ] || expect=$teacher_name
    sum=$(sha256sum "$teacher_dir/model.safetensors")
    if ! is_done "$exp/.done_teacher" "$expect" "${sum%% *}"; then
        "$python" local/prove_teacher.py "$teacher_dir" --expect "$expect" \
            --json "$exp/teacher.profile.json"
        mark_done "$exp/.done_teacher" "$expect" "${sum%% *}"
    fi
fi

if stage 1 "Data" "2 hours with the download, 62 GB (100 h: 7 GB); 10 minutes without" \
    "281241 utterances, 960.9 h (100 h: 28539, 100.6 h), every header checked"; then
    # shellcheck disable=SC2086
    "$python" local/download.py librispeech --out "$librispeech" --url "$librispeech_url" \
        --splits $all_splits
    if wants pr && [ -z "$lexicon" ]; then
        "$python" local/download.py lexicon --out downloads/lexicon
    fi
    if wants ks && [ -z "$speech_commands" ]; then
        "$python" local/download.py commands --out "$commands_dir"
    fi
    # shellcheck disable=SC2086
    "$python" -m espnet_kd.bin.prepare_data --corpus "librispeech:$librispeech" \
        --out "$datadir" --splits $all_splits --skip_bad "$skip_bad"
fi

if stage 2 "Training set, tables for S3PRL" "2 minutes, 0.1 GB"; then
    parts=()
    for split in $train_splits; do
        need "$datadir/$split/wav.scp" 1 "a part of the training set"
        parts+=("$datadir/$split")
    done
    if [ "$train_set" = train-960 ]; then
        "$python" local/combine.py "${parts[@]}" --out "$datadir/$train_set"
    fi
    missing=()
    for split in train-clean-100 dev-clean test-clean; do
        [ -f "$datadir/bucket/$split.csv" ] || missing+=("$split")
    done
    if ((${#missing[@]})); then
        "$python" -m s3prl_upstreams.make_bucket_files "$librispeech" --splits "${missing[@]}" \
            --out "$datadir/bucket"
    else
        say "    $datadir/bucket: kept"
    fi
fi

if stage 3 "Distil $system" "960 h: some 60 GPU hours, 100 h: 6 (estimates, see --help); 1.5 GB" \
    "a valid loss that falls from epoch to epoch"; then
    need "$teacher_dir/config.json" 0 "the teacher"
    need "$datadir/$train_set/utt2num_samples" 2 "the training set"
    need "$datadir/dev-clean/utt2num_samples" 1 "the validation set"
    processes=$(((ngpu > 0 ? ngpu : 1) * num_nodes))
    if [ -n "$hosts" ]; then
        # host:0:1 names its GPUs, a host alone uses --ngpu
        processes=$(echo "$hosts" | tr ',' '\n' |
            awk -F: -v n="$((ngpu > 0 ? ngpu : 1))" '{ sum += NF > 1 ? NF - 1 : n } END { print sum }')
    fi
    batch=$("$python" local/batch_plan.py --config "$config" --processes "$processes" \
        --utterances "$utterances_per_update" --per_gpu "$per_gpu")
    say "    ${batch% *} utterances per batch over $processes process(es)," \
        "${batch#* } batches per update"
    split_words more "$train_args"
    command=("$python" -m espnet_kd.bin.ssl_distill_train --config "$config"
        --teacher "$teacher_dir" --output_dir "$train_dir" --seed "$seed"
        --train_data_path_and_name_and_type "$datadir/$train_set/wav.scp,speech,sound"
        --train_shape_file "$datadir/$train_set/utt2num_samples"
        --valid_data_path_and_name_and_type "$datadir/dev-clean/wav.scp,speech,sound"
        --valid_shape_file "$datadir/dev-clean/utt2num_samples"
        --batch_size "${batch% *}" --accum_grad "${batch#* }" --num_workers "$num_workers")
    ((ngpu > 0)) || command+=(--use_amp false)
    command+=("${more[@]}")
    if ! is_done "$train_dir/.done" "${command[@]}"; then
        if [ -n "$hosts" ] || ((num_nodes > 1)); then
            nodes=(--num_nodes "$num_nodes") words=("${command[@]}")
            if [ -n "$hosts" ]; then
                mkdir -p "$exp"
                printf 'python=%q\n. %q\n' "$python" "$MAIN_ROOT/egs/TEMPLATE/path.sh" >"$exp/env.sh"
                nodes=(--host "$hosts" --envfile "$exp/env.sh") words=()
                # ESPnet's launcher pastes the words into a script for ssh.
                for word in "${command[@]}"; do words+=("$(printf '%q' "$word")"); done
            fi
            attended "$python" -m espnet2.bin.launch --cmd "${cuda_cmd}" \
                --log "$exp/train.log" --ngpu "$ngpu" "${nodes[@]}" \
                --init_file_prefix "$train_dir/.dist_init_" \
                --multiprocessing_distributed true -- "${words[@]}"
        else
            rotate "$exp/train.log"
            attended ${cuda_cmd} --gpu "$ngpu" --num_threads "$((ngpu > 0 ? ngpu : 1))" \
                "$exp/train.log" "${command[@]}" --ngpu "$ngpu" \
                --multiprocessing_distributed "$( ((ngpu > 1)) && echo true || echo false)"
        fi
        mark_done "$train_dir/.done" "${command[@]}"
    fi
fi

if stage 4 "Export and profile" "1 minute, 0.1 GB" \
    "26.45 M parameters (S: 22.39, MaskHuBERT: 26.64, STaR: 22.31, STaR-L: 26.63)"; then
    need "$train_dir/$epoch.pth" 3 "the weights to export"
    sum=$(sha256sum "$(realpath "$train_dir/$epoch.pth")")
    if ! is_done "$exp/.done_export" "$epoch" "${sum%% *}"; then
        if [ "$epoch" = valid.loss.ave ] &&
            [ "$train_dir/student/model.safetensors" -nt "$train_dir/$epoch.pth" ]; then
            # Training ends with this very export.
            rm -rf "$student_dir.new"
            cp -r "$train_dir/student" "$student_dir.new"
            rm -rf "$student_dir"
            mv "$student_dir.new" "$student_dir"
        else
            "$python" -m espnet_kd.bin.export --exp "$train_dir" --epoch "$epoch" \
                --dst "$student_dir"
        fi
        "$python" -m espnet_kd.bin.profile "$student_dir" --json "$exp/student.profile.json"
        mark_done "$exp/.done_export" "$epoch" "${sum%% *}"
    fi
fi

downstream() { # TASK...: train and evaluate S3PRL's downstream models
    local models=() data=("asr=$librispeech" "pr=$librispeech" "ks=$commands_dir") name options=()
    [ ! -d "$commands_dir" ] && data[2]="ks="
    data+=("sid=$voxceleb")
    for name in $superb_models; do
        case "$name" in
            student) need "$student_dir/config.json" 4 "the student" && models+=("student=$student_dir") ;;
            teacher) need "$teacher_dir/config.json" 0 "the teacher" && models+=("teacher=$teacher_dir") ;;
            *) die "--superb_models $name: choose of student and teacher" ;;
        esac
    done
    if [ -n "$superb_conf" ]; then
        options=(--conf "$superb_conf")
    elif [ -n "$superb_variant" ]; then
        options=(--variant "$superb_variant")
    fi
    # shellcheck disable=SC2086
    attended "$python" ../../TEMPLATE/downstream_jobs.py --models "${models[@]}" --tasks "$@" \
        --data "${data[@]}" --bucket "$datadir/bucket" --lexicon $lexicon_files \
        --out "$exp/downstream" --seed "$seed" --nj "$nj" --ngpu "$ngpu" \
        --extra "$superb_args" "${options[@]}"
}

if stage 5 "Decode: SUPERB ASR" "a day on one GPU (estimate), 2 GB" \
    "WER 9.96 (ARMHuBERT, published)"; then
    need "$datadir/bucket/test-clean.csv" 2 "the tables of S3PRL"
    downstream asr
fi

if stage 6 "SUPERB: $superb_tasks" "two days on one GPU (estimate), 3 GB" \
    "PER 7.72, KS 96.88, SID 65.03 (ARMHuBERT, published)"; then
    # shellcheck disable=SC2086
    [ -z "$superb_tasks" ] || downstream $superb_tasks
    # shellcheck disable=SC2086
    "$python" local/collect.py --exp "$exp" --system "$system" --teacher "$teacher_name" \
        --models $superb_models --seed "$seed" \
        --command "egs/librispeech/armhubert1/run.sh$(options_of student hours seed epoch \
            train_args utterances_per_update superb_variant superb_conf superb_args)"
    runs=()
    for name in $superb_models; do runs+=("$exp/results/$name.json"); done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$exp/report" \
        --title "$system on LibriSpeech and SUPERB"
fi

if stage 7 "Pack the student" "seconds, 0.1 GB" "one zip file with README.md"; then
    need "$student_dir/config.json" 4 "the student"
    results=()
    if [ -f "$exp/report/RESULTS.md" ]; then
        results=(--results "$exp/report/RESULTS.md")
    fi
    runs=()
    [ ! -f "$exp/results/student.json" ] || runs=("$exp/results/student.json")
    "$python" ../../TEMPLATE/model_card.py --model "$student_dir" --name "$system" \
        --config "$train_dir/config.yaml" --runs "${runs[@]}" --license "$license"
    "$python" ../../TEMPLATE/pack_student.py --model "$student_dir" \
        --config "$train_dir/config.yaml" "${results[@]}" --out "$exp/$system.zip"
fi

if stage 8 "Upload" "a minute, needs a token of the Hugging Face Hub"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    need "$student_dir/README.md" 7 "the model card"
    results=()
    [ ! -f "$exp/report/RESULTS.md" ] || results=(--results "$exp/report/RESULTS.md")
    "$python" ../../TEMPLATE/upload_student.py --model "$student_dir" --repo "$hf_repo" "${results[@]}"
fi

stages_done
