#!/usr/bin/env bash
# MVQ-KD as published: a conformer transducer that also predicts the codes of HuBERT XL, trained on
# LibriSpeech, with the options of icefall's recipe (pruned_transducer_stateless6).
#
#   ./run.sh                                      # train-clean-100, codes of our own, one GPU
#   ./run.sh --full_libri true --ngpu 8           # 960 hours on eight GPUs
#   ./run.sh --use_extracted_codebook true        # the codes that icefall's authors published
#   ./run.sh --stage 3 --enable_distillation false   # the baseline, on the same data
#   ./run.sh --stage 3 --codebook_loss_scale 0.01 --tag s0.01    # another scale, another folder
#   ./run.sh --teacher FILE.pt --librispeech DIR --ngpu 0        # own teacher, own speech, CPU
#
# On any number of GPUs an update sees 2400 s of speech: 300 s on each of the 8 GPUs that the script
# of the published results names. What was started goes on where it stopped; only stages 0, 1 and 2
# use the network, and only for what is not there.
#
# Stages of the original script and of this one: 0 and 0; 1 and 1, after the data; 2 and 2; 3 and 3; 4
# and 4 to 6.
#
# Different from icefall: ESPnet's conformer blocks (no bypass of layers, no balancers, no scaled
# weights; layers are dropped at the published rate, and the learning rate rises over the 3000
# updates in which the published model bypasses its layers); features are normalised; tokens are
# made of the training set's transcripts; the search is ESPnet's maes; the ten epochs that are
# averaged are those of the lowest validation loss; MUSAN noise only with --noise_scp.
#
# Cost with the defaults: 35 GB of disk (960 h: 220 GB). Codes of 100 hours at three speeds took the
# authors 3 hours on two A100 (960 h: ten times that); the training has not been timed.
set -euo pipefail
cd "$(dirname "$0")"

stage=0                 # first stage to run
stop_stage=7            # last stage to run; 8 uploads
skip_stages=""          # stages to leave out, such as "5 6"
full_libri=false        # true: 960 hours; false: train-clean-100
enable_distillation=true  # false: the baseline, without codes
use_extracted_codebook=false  # true: published codes instead of a teacher
codes_dir=""            # where they are: manifests and HDF5 files; fetched when empty
codes_manifests=""      # which manifests in it; "*clean-100*.jsonl.gz" and so on when empty
teacher_model_id=hubert_xtralarge_ll60k_finetune_ls960  # or hubert_xtralarge_ll60k
teacher=""              # own teacher: fairseq's .pt or a folder; fetched when empty
teacher_sha256=""       # checksum that its file must have
dictionary=""           # its letters, dict.ltr.txt; fetched when empty
proof_utts=0            # utterances of each test set that the teacher transcribes; 0 = all
proof_tolerance=1.0     # percent of WER above the published one that are allowed
embedding_layer=36      # layer of the teacher, from 1, whose vectors become codes
num_codebooks=8         # bytes of a frame
num_utts=1000           # utterances that the quantiser is trained on
quantizer_method=kmeans # kmeans (minutes), or published (20000 updates)
quantizer_args=""       # further options of train_quantizer
teacher_normalize=utterance  # or batch: over a padded batch, as published
extract_args=""         # further options of extract_codebook_indexes for codes
speeds="0.9 1.0 1.1"    # of the training speech; 1.0: no speed perturbation
min_seconds=1.0         # shorter utterances are not trained on
max_seconds=20.0        # nor longer ones
noise_scp=""            # Kaldi table of noises (published: MUSAN), mixed into half of the speech
librispeech=downloads/LibriSpeech  # folder of the splits; fetched into it where missing
librispeech_url=""      # mirror of openslr.org/resources/12
skip_bad=false          # true: leave unusable recordings out (at most 1 %)
vocab_size=500          # byte-pair tokens
stats_utts=10000        # utterances for the features' mean and variance
conf=""                 # experiment file, instead of conf/mvq/conformer_...yaml
distillation_layer=5    # layer of the student, from 0, that predicts
codebook_loss_scale=0.1 # weight of the prediction
context_size=2          # labels that the decoder sees; 1: ESPnet's own stateless decoder
prune_range=5           # symbols per frame of the pruned loss
lm_scale=0.25           # smoothing of the simple loss
am_scale=0.0            # likewise
simple_loss_scale=0.5   # weight of the simple loss
num_epochs=0            # 0 = published: 20 (960 h: 30)
initial_lr=0.003        # of Eve; Eden lowers it
lr_batches=5000         # Eden: updates from which it falls
lr_epochs=6             # Eden: epochs from which it falls
max_duration=300        # seconds of a batch on one GPU, at most
seconds_per_update=2400 # seconds of speech per update, of all GPUs
avg=10                  # epochs that are averaged
train_args=""           # further options of mvq_transducer_train
ngpu=1                  # GPUs per node, 0 = CPU
num_nodes=1             # nodes
hosts=""                # instead of num_nodes: hosts reached by ssh, host1:0:1,host2:0:1
num_workers=4           # processes that load data
seed=42                 # of quantiser and training
epoch=valid.loss.ave    # weights to decode with: the average, latest, 20epoch ...
test_sets="test-clean test-other"  # to decode
beam_size=4             # of the search
decode_args=""          # further options of asr_transducer_inference
gpu_decode=false        # true: decode on a GPU, a job at a time
nj=4                    # processes at a time, for data and decoding
datadir=data            # Kaldi folders
expdir=exp              # everything that is trained
tag=""                  # added to the experiment's name
hf_repo=""              # stage 8: NAME/MODEL
python=""               # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/stages.sh
stages_check 0 8
from_start conf teacher dictionary codes_dir noise_scp librispeech datadir expdir
teacher_source=fairseq teacher_revision="" superb_tasks=""
. ../common/librispeech.sh

hours=100
if $full_libri; then hours=960; fi
conf=${conf:-$MAIN_ROOT/conf/mvq/conformer_${hours}h.yaml}
[ -f "$conf" ] || die "--conf $conf: no such file"
case "$quantizer_method" in
    kmeans | published) ;;
    *) die "--quantizer_method $quantizer_method: choose kmeans or published" ;;
esac
[[ $max_duration =~ ^[1-9][0-9]*$ && $seconds_per_update =~ ^[1-9][0-9]*$ ]] ||
    die "--max_duration and --seconds_per_update are whole seconds"
training_data "$hours"
parts=$train_splits
locate_teacher "$teacher_model_id"
layer=${teacher_name}_layer${embedding_layer}_cb$num_codebooks
# What --speeds and the limits change has a name of its own.
train_set=mvq_${hours}h_$(echo "$speeds $min_seconds $max_seconds $vocab_size" | tr ' ' '_')
train=$datadir/$train_set
valid=$datadir/dev
tokens=$datadir/bpe${hours}h_$vocab_size
stats=$datadir/stats_$train_set
vq=$expdir/vq/$layer
codes=$vq/codes_$train_set
if $use_extracted_codebook; then codes=$expdir/vq/extracted/codes_$train_set; fi
kind=mvq
if ! $enable_distillation; then kind=baseline; fi
system=${kind}_${hours}h
exp=$expdir/$system${tag:+_$tag}
train_dir=$exp/train
needs_teacher=false
if $enable_distillation && ! $use_extracted_codebook; then needs_teacher=true; fi
teacher_file=${teacher:-downloads/teachers/$teacher_name.pt}
dictionary=${dictionary:-downloads/teachers/dict.ltr.txt}

. local/functions.sh

if stage 0 "Checks, teacher" "half an hour with the download, 4 GB" \
    "a teacher of 48 layers whose hidden states are finite and alive"; then
    if $needs_teacher; then
        prepare_teacher $((hours == 960 ? 220 : 35))
        if [ -z "$teacher" ] && [ ! -f "$dictionary" ]; then
            "$python" $common/download.py labels --out "$(dirname "$dictionary")"
        fi
    else
        "$python" ../../TEMPLATE/check_machine.py --ngpu "$ngpu" --want_gb 20 \
            --packages sentencepiece $($use_extracted_codebook && echo h5py)
    fi
fi

if stage 1 "Data, proof of the teacher's WER" \
    "an hour with the download, 8 GB (960 h: 63 GB); the proof: 20 minutes on a GPU" \
    "WER 2.04 and 3.71 by greedy CTC decoding (published)"; then
    # shellcheck disable=SC2046
    prepare_splits $(unique $parts train-clean-100 dev-clean dev-other test-clean test-other)
    if $needs_teacher; then
        need "$teacher_dir/config.json" 0 "the teacher"
        prove_wer
    fi
fi

if stage 2 "Tokens, speeds, codes, statistics" \
    "6 GPU hours (published; 960 h: 60); 15 GB (960 h: 150 GB), of codes 0.5 GB (5 GB)" \
    "a held-out relative error of the quantiser of about 0.43 (published, 5 passes)"; then
    texts=()
    folders=()
    for part in $parts; do
        need "$datadir/$part/wav.scp" 1 "a part of the training set"
        folders+=("$datadir/$part")
        texts+=("$datadir/$part/text")
    done
    need "$datadir/dev-clean/wav.scp" 1 "the validation set"
    once "$tokens" "$(sum_of "${texts[@]}")" \
        "$python" local/train_bpe.py "${texts[@]}" --vocab_size "$vocab_size" --out "$tokens"
    # shellcheck disable=SC2086
    "$python" local/train_set.py "${folders[@]}" --out "$train" --speeds $speeds \
        --min_seconds "$min_seconds" --max_seconds "$max_seconds" \
        --bpemodel "$tokens/bpe.model" --threads "$nj"
    join_splits dev dev-clean dev-other
    if $enable_distillation; then
        if $use_extracted_codebook; then extracted_codes; else own_codes; fi
        "$python" -m espnet_kd.bin.check_codes "$codes" --data "$train" \
            --num_codebooks "$num_codebooks"
    fi
    mkdir -p "$stats"
    for part in train valid; do
        awk -v most="$stats_utts" '{ line[NR] = $1 } END {
            step = NR > most ? NR / most : 1
            for (i = 1; i <= NR; i += step) print line[int(i)] }' \
            "${!part}/wav.scp" >"$stats/$part.keys"
    done
    streams_with_text
    watch="" once "$stats/stats" "$(sum_of "$train/wav.scp" "$conf")" \
        "$python" -m espnet_kd.bin.mvq_transducer_train --config "$conf" \
        --kd_conf enable_distillation=false --kd_conf distillation_layer=-1 \
        --collect_stats true --normalize none --ngpu 0 --num_workers "$num_workers" "${words[@]}" \
        --train_shape_file "$stats/train.keys" --valid_shape_file "$stats/valid.keys" \
        --output_dir "$stats/stats"
fi

if stage 3 "Train $system" \
    "20 epochs of 300 hours (960 h: 30 of 2880): a day on one GPU (two weeks; estimates); 6 GB" \
    "a falling valid loss"; then
    need "$stats/stats.done" 2 "the statistics"
    streams_with_text
    count=$(processes)
    accum=$(((seconds_per_update + max_duration * count - 1) / (max_duration * count)))
    bins=$((16000 * seconds_per_update / accum))
    say "    $((seconds_per_update / accum)) s per batch of all $count process(es)," \
        "$accum batch(es) per update"
    if $enable_distillation; then
        need "$codes/codes.scp" 2 "the codes"
        words+=(--train_data_path_and_name_and_type "$codes/codes.scp,codes,kaldi_ark")
    fi
    ((context_size == 1)) ||
        words+=(--decoder kd_stateless --decoder_conf "context_size=$context_size")
    ((num_epochs == 0)) || words+=(--max_epoch "$num_epochs")
    [ -z "$noise_scp" ] ||
        words+=(--noise_scp "$noise_scp" --noise_apply_prob 0.5 --noise_db_range 10_20)
    ((ngpu > 0)) || words+=(--use_amp false)
    loss=k2_pruned_loss_args
    split_words more "$train_args"
    command=("$python" -m espnet_kd.bin.mvq_transducer_train --config "$conf" "${words[@]}"
        --train_shape_file "$train/utt2num_samples" --valid_shape_file "$valid/utt2num_samples"
        --normalize_conf "stats_file=$stats/stats/train/feats_stats.npz"
        --kd_conf "enable_distillation=$enable_distillation"
        --kd_conf "num_codebooks=$num_codebooks" --kd_conf "distillation_layer=$distillation_layer"
        --kd_conf "codebook_loss_scale=$codebook_loss_scale"
        --model_conf "$loss.prune_range=$prune_range" --model_conf "$loss.lm_scale=$lm_scale"
        --model_conf "$loss.am_scale=$am_scale"
        --model_conf "$loss.simple_loss_scaling=$simple_loss_scale"
        --optim_conf "lr=$initial_lr" --scheduler_conf "lr_batches=$lr_batches"
        --scheduler_conf "lr_epochs=$lr_epochs" --keep_nbest_models "$avg"
        --accum_grad "$accum" --batch_bins "$bins" --num_workers "$num_workers" --seed "$seed"
        --output_dir "$train_dir" "${more[@]}")
    sums=("$train/wav.scp" "$tokens/tokens.txt")
    ! $enable_distillation || sums+=("$codes/codes.json")
    sum=$(sum_of "${sums[@]}")
    if [ -f "$train_dir/made_of" ] && [ "$(cat "$train_dir/made_of")" != "$sum" ]; then
        die "$train_dir was trained on other speech, tokens or codes:" \
            "remove it, or give --tag for another experiment"
    fi
    mkdir -p "$train_dir"
    echo "$sum" >"$train_dir/made_of"
    if ! is_done "$train_dir/.done" "${command[@]}"; then
        launch "$train_dir" "${command[@]}"
        mark_done "$train_dir/.done" "${command[@]}"
    fi
fi

if stage 4 "Average and export" "seconds, 0.3 GB" "78.3 M parameters"; then
    need "$train_dir/.done" 3 "the end of the training"
    need "$train_dir/$epoch.pth" 3 "the weights to decode with"
    sum=$(sum_of "$train_dir/$epoch.pth")
    if ! is_done "$exp/.done_export" "$epoch" "$sum"; then
        "$python" local/export_model.py "$train_dir/$epoch.pth" --out "$exp/model.pth" \
            --json "$exp/model.json"
        mark_done "$exp/.done_export" "$epoch" "$sum"
    fi
fi

if stage 5 "Decode $test_sets" "5 hours on 8 cores (estimate), 20 MB"; then
    need "$exp/.done_export" 4 "the model"
    for set in $test_sets; do decode_set "$set"; done
fi

if stage 6 "Score" "seconds" \
    "WER 5.82 and 15.98, without codes 7.09 and 18.88 (100 h, 20 epochs, published)"; then
    for set in $test_sets; do need "$exp/decode/$set/text" 5 "the transcripts"; done
    # shellcheck disable=SC2086
    "$python" local/collect.py --exp "$exp" --data "$datadir" --sets $test_sets \
        --system "$system" --seed "$seed" \
        --command "egs/librispeech/mvq1/run.sh$(options_of full_libri use_extracted_codebook \
            quantizer_method codebook_loss_scale distillation_layer embedding_layer num_codebooks \
            context_size num_epochs speeds epoch seed train_args tag)"
    runs=()
    for other in "$expdir"/{mvq,baseline}_${hours}h${tag:+_$tag}/results/*_"${hours}"h.json; do
        [ ! -f "$other" ] || runs+=("$other")
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$exp/report" \
        --title "MVQ-KD on LibriSpeech, $hours hours"
fi

if stage 7 "Pack the transducer for ESPnet" "seconds, 0.3 GB"; then
    need "$exp/.done_export" 4 "the model"
    "$python" -m espnet2.bin.pack asr --asr_train_config "$train_dir/config.yaml" \
        --asr_model_file "$exp/model.pth" --option "$tokens/bpe.model" \
        --option "$stats/stats/train/feats_stats.npz" --outpath "$exp/packed/$system.zip"
fi

if stage 8 "Upload" "a minute, needs a token of the Hugging Face Hub"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    need "$exp/packed/$system.zip" 7 "the packed model"
    need "$exp/report/RESULTS.md" 6 "the results"
    "$python" ../../TEMPLATE/upload_student.py --model "$exp/packed" \
        --results "$exp/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
