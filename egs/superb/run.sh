#!/usr/bin/env bash
# SUPERB: the ten tasks of the benchmark for any upstream, its scores, and the leaderboard's file.
#
#   ./run.sh --upstream armhubert --ckpt DIR --data CORPORA          # all ten tasks
#   ./run.sh --upstream armhubert --ckpt DIR --data CORPORA --tasks "asr sid" --ngpu 2 --nj 2
#   ./run.sh --upstream dpwavlm --ckpt DPWavLM.pth --superb_variant armhubert   # authors' schedules
#   ./run.sh --upstream hubert_base --name hubert                    # an upstream that S3PRL fetches
#   ./run.sh --stage 6 --published no                             # the scores again
#
# CORPORA holds LibriSpeech, speech_commands_v0.01 and its test set, quesst14Database, VoxCeleb1,
# diarization, fluent_speech_commands_dataset, SNIPS and IEMOCAP; stage 1 says what is missing and
# where to get it, and fetches what anybody may (--download true). Every task goes on where it
# stopped. Nothing of a task is repeated unless its options or the upstream's weights have changed.
#
# Cost with the defaults, for one student of 25 M parameters: 100 GB of corpora, and some two weeks
# of one GPU with --feature_cache off; by default the frozen upstream runs once instead of some
# hundred times. Estimated from SUPERB's numbers of updates, not measured. Scores of features that
# were computed without their batch's padding are comparable to stock ones and said to be so.
set -euo pipefail
cd "$(dirname "$0")"

stage=0                # first stage to run
stop_stage=7           # last stage to run
skip_stages=""         # stages to leave out
upstream=armhubert     # name after S3PRL's -u: armhubert, dphubert, kd_student, hubert_base, fbank ...
ckpt=""                # the upstream's folder or file; empty where S3PRL fetches it
name=""                # of the experiment folder and in the tables; made of ckpt when empty
tasks="pr asr ks qbe sid asv sd ic sf er"  # which of the ten
data=downloads         # folder of the corpora
download=false         # true: fetch LibriSpeech, Speech Commands, QUESST 2014 and the lexicon
check_audio=true       # false: do not look at every header in stage 1
superb_variant=""      # armhubert, lighthubert: those authors' learning rates and schedules
lr_sweep=""            # learning rates to try, "1e-2 1e-3"; the best on dev counts
superb_conf=""         # folder of superb_TASK.yaml, instead of conf/superb
superb_args=""         # further options of s3prl_upstreams.run_downstream, for every task
lm=""                  # folder of 4-gram.arpa.gz and librispeech_lexicon.lst: ASR's second score
feature_cache=auto     # compute features once: exact, isolated, pooled, auto; off = as S3PRL does
feature_cache_gb=100   # disk that it may take for each task
seed=1337              # S3PRL's own
nj=2                   # tasks at a time
ngpu=1                 # GPUs that they share, 0 = CPU
published=yes          # published rows beside ours: yes, no, or names of rows
more_models=""         # others for the table: "NAME=exp/NAME ..."
allow_missing=false    # true: a table without scores where tasks are missing
expdir=exp             # where everything is written
python=""              # interpreter; found when empty

. ../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../TEMPLATE/stages.sh
stages_check 0 7
from_start ckpt data superb_conf expdir lm
common=../librispeech/common

if [ -n "$ckpt" ] && [ ! -e "$ckpt" ]; then die "--ckpt $ckpt: no such file or folder"; fi
base=$(basename "${ckpt:-$upstream}")
name=${name:-${base%.*}}
exp=$expdir/$name
wants() { [[ " $tasks " == *" $1 "* ]]; }
settings=()
if [ -n "$superb_conf" ] && [ -n "$superb_variant" ]; then
    die "--superb_conf and --superb_variant: choose one, a variant changes SUPERB's own files"
fi
if [ -n "$superb_conf" ]; then
    settings=(--conf "$superb_conf")
elif [ -n "$superb_variant" ]; then
    settings=(--variant "$superb_variant")
fi

if stage 0 "Checks, upstream" "a minute" "the upstream's layers, parameters and MACs"; then
    "$python" ../TEMPLATE/check_machine.py --ngpu "$ngpu" --want_gb 100
    "$python" -m s3prl_upstreams.describe_upstream -u "$upstream" ${ckpt:+-k "$ckpt"} \
        --json "$exp/upstream.json"
fi

if stage 1 "Data" "hours with downloads, 30 GB; 10 minutes without" \
    "all tasks ready, every header checked"; then
    if $download; then
        if wants pr || wants asr; then
            "$python" $common/download.py librispeech --out "$data/LibriSpeech" \
                --splits train-clean-100 dev-clean test-clean
        fi
        if wants pr; then "$python" $common/download.py lexicon --out "$data"; fi
        if wants ks; then "$python" $common/download.py commands --out "$data"; fi
        if wants qbe; then "$python" $common/download.py quesst --out "$data"; fi
        if [ -n "$lm" ]; then "$python" $common/download.py language_model --out "$lm"; fi
    fi
    "$python" -m s3prl_upstreams.check_data --data "$data" --tasks "$tasks" \
        ${superb_conf:+--conf "$superb_conf"} --audio "$check_audio"
fi

if stage 3 "Train and evaluate: $tasks" "two weeks of one GPU for all (estimate), 20 GB" \
    "one score per task"; then
    [ -d "$data" ] || die "stage 3 needs the corpora in --data $data, see stage 1"
    cache="--feature_cache $feature_cache --feature_cache_gb $feature_cache_gb"
    if [ -n "$lr_sweep" ]; then cache+=" --lr_sweep '$lr_sweep'"; fi
    # shellcheck disable=SC2086
    attended "$python" ../TEMPLATE/downstream_jobs.py --upstream "$upstream" \
        --models "$name=$ckpt" --root "$(realpath "$data")" --tasks $tasks --out "$expdir" \
        --seed "$seed" --nj "$nj" --ngpu "$ngpu" --extra "$cache $superb_args" "${settings[@]}"
fi

if [ -n "$lm" ] && stage 5 "ASR with a language model" "an hour, 4 GB of memory" "a lower WER"; then
    need "$exp/asr/score.json" 3 "the score of ASR"
    # After --lr_sweep the best checkpoint lies in the folder of the best rate.
    best=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])' \
        "$exp/asr/score.json")
    need "$best" 3 "the best checkpoint of ASR"
    decoder=config.downstream_expert.datarc.decoder_args
    command=("$python" -m s3prl_upstreams.run_downstream -m evaluate -t test-clean -e "$best"
        --data "$data"
        -o "args.expdir='$exp/asr_lm',,$decoder.decoder_type='kenlm',,$decoder.kenlm_model='$(realpath "$lm/4-gram.arpa.gz")',,$decoder.lexicon='$(realpath "$lm/librispeech_lexicon.lst")'")
    mark=$exp/asr_lm/.done_decode
    if [ ! "$mark" -nt "$best" ] || ! is_done "$mark" "${command[@]}"; then
        "${command[@]}" --device "$([ "$ngpu" = 0 ] && echo cpu || echo cuda)"
        mark_done "$mark" "${command[@]}"
    fi
    cp "$exp/asr_lm/test-clean-LM-hyp.ark" "$exp/asr/"
fi

if stage 6 "Scores" "seconds" "overall and superb_s, beside the published students"; then
    options=()
    # A checkpoint of ours, whose parameters and MACs can be counted.
    if [ -f "$ckpt/config.json" ]; then options+=(--model "$name=$ckpt"); fi
    if $allow_missing; then options+=(--allow_missing); fi
    # shellcheck disable=SC2086
    "$python" -m espnet_kd.bin.superb_score --exp "$name=$exp" $more_models "${options[@]}" \
        --published $published --out "$exp/scores" --title "$name on SUPERB"
fi

if stage 7 "predict.zip for the leaderboard" "seconds" "one zip file"; then
    # shellcheck disable=SC2086
    "$python" -m s3prl_upstreams.make_submission --exp "$exp" --tasks $tasks --output_dir "$exp"
fi

stages_done
