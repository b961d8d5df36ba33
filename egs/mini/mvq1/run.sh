#!/usr/bin/env bash
# MVQ-KD in miniature: speech -> self-supervised teacher -> its vectors as 8 bytes a frame -> a
# transducer that predicts them beside its words -> WER by ESPnet's own beam search, from nothing but
# a package index.
#
#   ./run.sh                                  # synthetic voices
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --teacher ../armhubert1/exp/synthetic/seedSEED/teacher/student  # one that is there
#   ./run.sh --stage 3 --seeds "0 1 2" --codebook_loss_scale 0.05  # from the transducers on
#
# The teacher hears all speech without transcripts, the transducers the small part that has them.
# Compared: the transducer with and without codes, from the same weights for as many updates.
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
seeds="0"          # each seed is a whole run: teacher, quantiser, transducers
teacher=""         # folder of a teacher that is there; SEED in it stands for the seed
embedding_layer=3  # layer of the teacher, from 1, whose vectors become codes
num_codebooks=8    # bytes of a frame
codebook_loss_scale=0.02   # weight of the prediction loss
train_set=train-clean-360  # speech for the teacher and the quantiser; no transcripts needed
train_asr=train-clean-100  # speech with transcripts, for the transducers
valid_set=dev-clean        # for validation, transcripts are needed
test_set=test-clean        # likewise, for the WER
num_classes=100    # clusters that the teacher predicts
nj=2               # processes at a time
ngpu=0             # GPUs for training
smoke=false        # true: a few updates on a few utterances, to see that everything runs
teacher_args=""    # further options of ssl_distill_train for the teacher
asr_args=""        # ... of mvq_transducer_train for both transducers
inference_args=""  # ... of ESPnet's asr_transducer_inference
hf_repo=""         # where stage 8 uploads the packed model to, NAME/MODEL
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh
. ../../TEMPLATE/mini.sh
stages_check 0 8
from_start teacher
systems="mvq no_codes"
tokens=$expdir/tokens.txt
if $smoke; then
    asr_args+=" --max_epoch 1 --num_iters_per_epoch 3 --batch_bins 200000"
    inference_args+=" --beam_size 1"
fi

of_seed() { # set seed_dir and teacher_dir of $seed
    seed_dir=$expdir/seed$seed
    teacher_dir=${teacher//SEED/$seed}
    if [ -n "$teacher_dir" ] && [ ! -f "$teacher_dir/config.json" ]; then
        die "--teacher: $teacher_dir is no folder with config.json"
    fi
    teacher_dir=${teacher_dir:-$seed_dir/teacher/student}
}

extract() { # FOLDER SET OPTIONS...: what the teacher makes of a set
    local folder=$1 set=$2
    shift 2
    derive "$folder" "$python" -m espnet_kd.bin.extract_codebook_indexes --data "$data/$set" \
        --teacher "$teacher_dir" --layer "$embedding_layer" --out "$folder" --nj "$nj" \
        --ngpu "$ngpu" "$@"
}

streams() { # CODES(true|false): data of a transducer, as ESPnet options
    local codes=$1 which set
    for which in train valid; do
        set=$train_asr
        if [ $which = valid ]; then set=$valid_set; fi
        printf -- ' --%s_data_path_and_name_and_type %s/wav.scp,speech,sound' $which "$data/$set"
        printf -- ' --%s_data_path_and_name_and_type %s/text,text,text' $which "$data/$set"
        if $codes; then
            printf -- ' --%s_data_path_and_name_and_type %s/codes.scp,codes,kaldi_ark' $which \
                "$seed_dir/codes/$set"
        fi
        printf -- ' --%s_shape_file %s/utt2num_samples' $which "$data/$set"
    done
}

train_transducer() { # NAME CODES(true|false)
    local name=$1 codes=$2
    # shellcheck disable=SC2046,SC2086
    kd_train "$name" conf/train_transducer.yaml 1 mvq_transducer_train $(streams "$codes") \
        --token_list "$tokens" --kd_conf "enable_distillation=$codes" \
        --kd_conf "num_codebooks=$num_codebooks" \
        --kd_conf "codebook_loss_scale=$codebook_loss_scale" $asr_args
}

decode() { # NAME: words of the test set, by ESPnet alone
    local name=$1
    # shellcheck disable=SC2086
    derive "$seed_dir/decode/$name" "$python" -m espnet2.bin.asr_transducer_inference \
        --config conf/decode.yaml --ngpu 0 --output_dir "$seed_dir/decode/$name" \
        --data_path_and_name_and_type "$data/$test_set/wav.scp,speech,sound" \
        --asr_train_config "$seed_dir/$name/config.yaml" \
        --asr_model_file "$seed_dir/$name/valid.loss.ave.pth" $inference_args
}

if stage 0 "Checks" "seconds" "versions of the packages, and room on the disk"; then
    "$python" ../../TEMPLATE/check.py --corpus "$corpus" --min_free_gb 1
fi

if stage 1 "Data" "30 s, 100 MB" "good data folders"; then
    prepare_speech
    "$python" -m espnet_kd.bin.check_data "$data/$train_asr"
fi

if stage 2 "Teacher, quantiser, codes" "6 to 8 minutes per seed, 60 MB" \
    "a held-out relative error of the quantiser far below 1"; then
    need "$data/$train_set/wav.scp" 1
    for seed in $seeds; do
        of_seed
        [ -n "$teacher" ] || train_teacher
        extract "$seed_dir/embeddings" "$train_set" --num_utts 300
        derive "$seed_dir/quantizer" "$python" -m espnet_kd.bin.train_quantizer \
            --embeddings "$seed_dir/embeddings/embeddings.scp" --out "$seed_dir/quantizer" \
            --bytes_per_frame "$num_codebooks" --seed "$seed"
        for part in "$train_asr" "$valid_set"; do
            extract "$seed_dir/codes/$part" "$part" --quantizer "$seed_dir/quantizer"
        done
    done
fi

if stage 3 "Transducers with and without codes" "9 minutes per seed, 30 MB" \
    "a falling valid loss of both"; then
    need "$data/$train_asr/text" 1
    for seed in $seeds; do
        need "$expdir/seed$seed/codes/$valid_set/codes.scp" 2 "the codes of seed $seed"
    done
    "$python" -m espnet2.bin.tokenize_text --token_type word --field 2- --write_vocabulary true \
        --input "$data/$train_asr/text" --output "$tokens" --add_symbol "<blank>:0" \
        --add_symbol "<unk>:1" --add_symbol "<sos/eos>:-1" >/dev/null 2>&1
    for seed in $seeds; do
        of_seed
        start_job "$nj" train_transducer mvq true
        start_job "$nj" train_transducer no_codes false
    done
    finish_jobs
fi

if stage 5 "Decode by ESPnet" "1 minute per seed"; then
    for seed in $seeds; do
        of_seed
        for name in $systems; do
            need "$seed_dir/$name/valid.loss.ave.pth" 3 "the transducer $name of seed $seed"
            start_job "$nj" decode "$name"
        done
    done
    finish_jobs
fi

if stage 6 "Table, plots, RESULTS.md" "5 s" "one row per system in RESULTS.md"; then
    runs=()
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/decode" 5 "the transcripts of seed $seed"
        "$python" local/collect.py --seed_dir "$seed_dir" --seed "$seed" --corpus "$tag" \
            --reference "$data/$test_set/text" \
            --command "egs/mini/mvq1/run.sh --corpus ${corpus/:*/:PATH} --seeds \"$seeds\" --codebook_loss_scale $codebook_loss_scale${teacher:+ --teacher PATH}${asr_args:+ --asr_args \"$asr_args\"}"
        runs+=("$seed_dir"/results/*.json)
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$expdir/report" \
        --title "MVQ-KD in miniature on $tag"
    "$python" ../../TEMPLATE/verdict.py "${runs[@]}" --smoke "$smoke" --pairs mvq:no_codes
fi

if stage 7 "Pack the transducer for ESPnet" "seconds"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/mvq/valid.loss.ave.pth" 3
        "$python" -m espnet2.bin.pack asr --asr_train_config "$seed_dir/mvq/config.yaml" \
            --asr_model_file "$seed_dir/mvq/valid.loss.ave.pth" \
            --outpath "$seed_dir/packed/mvq.zip"
    done
fi

if stage 8 "Upload" "needs --hf_repo, a token and the network"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    seed=${seeds%% *}
    need "$expdir/seed$seed/packed/mvq.zip" 7
    need "$expdir/report/RESULTS.md" 6
    "$python" ../../TEMPLATE/upload_student.py --model "$expdir/seed$seed/packed" \
        --results "$expdir/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
