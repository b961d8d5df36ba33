#!/usr/bin/env bash
# ARMHuBERT in miniature: speech -> teacher -> attention-reusing student -> S3PRL scores, from
# nothing but a package index, in about ten minutes on two cores.
#
#   ./run.sh                                  # synthetic voices
#   ./run.sh --corpus digits:fsdd.tar.gz      # real digits (FSDD folder or archive)
#   ./run.sh --corpus librispeech:/path       # any folder in LibriSpeech's layout
#   ./run.sh --stage 3 --seeds "0 1 2"        # from distillation on, three seeds
#
# Compared on the same downstream budget: the teacher, the distilled student, and two baselines of
# the student's architecture: untrained, and trained without a teacher for as many updates.
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
seeds="0"          # each seed is a whole run: teacher, student, baselines, downstream
train_set=train-clean-360  # speech for teacher and student; no transcripts needed
valid_set=dev-clean        # speech for validation
tasks="asr sid"    # downstream tasks: asr sid pr ks
num_classes=100    # clusters that the teacher predicts
nj=2               # processes at a time
ngpu=0             # GPUs for training
smoke=false        # true: a few updates on a few utterances, to see that everything runs
teacher_args=""    # further options of ssl_distill_train for the teacher
student_args=""    # ... for student and baseline
hf_repo=""         # where stage 8 uploads to, NAME/MODEL
python=""          # interpreter; found when empty

. ../../TEMPLATE/parse_options.sh
. ./path.sh
. ./cmd.sh

kind=${corpus%%:*}
tag=${tag:-$kind}
size=mini
if $smoke; then
    tag+=_smoke
    size=smoke
fi
data=$datadir/$tag
expdir=$expdir/$tag
. ../../TEMPLATE/stages.sh
stages_check 0 8

train_options() { # SET CODES(true|false): data of one part, as ESPnet options
    local part=$1
    for which in train valid; do
        local folder=$data/$train_set
        if [ $which = valid ]; then folder=$data/$valid_set; fi
        printf -- ' --%s_data_path_and_name_and_type %s/wav.scp,speech,sound' $which "$folder"
        if $part; then
            printf -- ' --%s_data_path_and_name_and_type %s/codes,codes,text_int' $which "$folder"
        fi
        printf -- ' --%s_shape_file %s/utt2num_samples' $which "$folder"
    done
}

smoke_options=""
if $smoke; then smoke_options="--max_epoch 1 --num_iters_per_epoch 3 --batch_bins 200000"; fi
# Lines of the training logs that the terminal shows, and how much of them.
watch='epoch results|% done|[Ee]rror:|[Rr]esum'
watch_edit='s/^\[[^]]*\] [0-9 :,-]+\([^)]*\) [A-Z]+: //
s/\[train\][^[]* loss=([^,]+),[^[]*\[valid\] loss=([^,]+).*/train loss \1, valid loss \2/'
export watch

train() { # NAME CONFIG CODES THREADS OPTIONS...: one training run; ESPnet resumes it if it stopped
    local name=$1 config=$2 codes=$3 threads=$4 command
    local mark=$seed_dir/$name/.done_train
    shift 4
    # shellcheck disable=SC2046,SC2086
    command=("$python" -m espnet_kd.bin.ssl_distill_train --config "$config" --seed "$seed"
        --ngpu "$ngpu" --num_workers 0 --output_dir "$seed_dir/$name" $(train_options "$codes")
        $smoke_options "$@")
    local made_from=("${command[@]}" "$(cksum <"$config")" "$(cksum <"$data/$train_set/wav.scp")")
    if is_done "$mark" "${made_from[@]}"; then return; fi
    watch_edit="$watch_edit;s/^/    $name: /" ${cuda_cmd} --gpu "$ngpu" \
        --num_threads "$threads" "$seed_dir/log/train_$name.log" \
        "${command[@]}" &
    # A shell that waits hears signals at once; the training has to hear them too.
    # shellcheck disable=SC2064
    trap "kill $! 2>/dev/null; exit 143" TERM
    wait_all $!
    trap 'exit 143' TERM
    mark_done "$mark" "${made_from[@]}"
}

if stage 0 "Checks" "seconds" "versions of the packages, and room on the disk"; then
    "$python" local/check.py --corpus "$corpus" --min_free_gb 1
fi

if stage 1 "Data" "30 s, 100 MB" "three good data folders"; then
    watch="" ${train_cmd} "$expdir/log/prepare_data.log" \
        "$python" -m espnet_kd.bin.prepare_data --corpus "$corpus" --out "$data" --size "$size" \
        --processes "$nj" --speaker_id true
    "$python" -m espnet_kd.bin.check_data "$data/$train_set" "$data/$valid_set" "$data/test-clean"
fi

if stage 2 "Cluster targets and teacher" "5 minutes per seed, 50 MB" \
    "masked accuracy of the teacher at 25 times chance or more"; then
    need "$data/$train_set/wav.scp" 1
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        if [ ! -s "$data/$train_set/codes" ] || [ ! -s "$data/$valid_set/codes" ]; then
            watch="" ${train_cmd} "$expdir/log/make_clusters.log" \
                "$python" -m espnet_kd.bin.make_clusters "$data/$train_set" "$data/$valid_set" \
                --num_classes "$num_classes"
        fi
        # shellcheck disable=SC2086
        train teacher conf/train_teacher.yaml true "$nj" $teacher_args
        # The teacher has to predict masked sounds far better than chance, or it teaches nothing.
        "$python" local/check_teacher.py "$seed_dir/teacher" --num_classes "$num_classes" \
            --smoke "$smoke"
    done
fi

if stage 3 "Distil the student; train the baseline without a teacher" "5 minutes per seed, 30 MB" \
    "a falling valid loss of both"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/teacher/student/config.json" 2 "the teacher of seed $seed"
        pids=()
        # shellcheck disable=SC2086
        train student conf/distil_student.yaml false 1 --teacher "$seed_dir/teacher/student" \
            $student_args &
        pids+=($!)
        if ((nj < 2)); then wait_all "${pids[@]}"; pids=(); fi
        # shellcheck disable=SC2086
        train no_teacher conf/train_no_teacher.yaml true 1 $student_args &
        pids+=($!)
        wait_all "${pids[@]}"
    done
fi

if stage 4 "Export and profile" "20 s per seed" "a third of the teacher's parameters"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/student/student/config.json" 3 "the student of seed $seed"
        need "$seed_dir/no_teacher/student/config.json" 3 "the baseline of seed $seed"
        "$python" local/export.py --seed_dir "$seed_dir" --seed "$seed"
    done
fi

if stage 5 "S3PRL downstream: ${tasks}" "3 minutes per seed, 40 MB" \
    "the student above both baselines"; then
    override=""
    if $smoke; then
        override="config.runner.total_steps=4,,config.runner.eval_step=4,,config.runner.save_step=4"
    fi
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/models/student/config.json" 4 "the models of seed $seed"
        models=()
        for model in teacher student no_teacher untrained; do
            models+=("$model=$seed_dir/models/$model")
        done
        # shellcheck disable=SC2086
        "$python" ../../TEMPLATE/downstream_jobs.py --corpus "$data/corpus/corpus.json" \
            --models "${models[@]}" --tasks $tasks --conf conf --out "$seed_dir/downstream" \
            --seed "$seed" --nj "$nj" --override "$override"
    done
fi

if stage 6 "Table, plots, RESULTS.md" "5 s" "one row per system in RESULTS.md"; then
    runs=()
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/downstream" 5 "the scores of seed $seed"
        "$python" local/collect.py --seed_dir "$seed_dir" --seed "$seed" --corpus "$tag" \
            --command "egs/mini/armhubert1/run.sh --corpus ${corpus/:*/:PATH} --seeds \"$seeds\""
        runs+=("$seed_dir"/results/*.json)
    done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$expdir/report" \
        --title "ARMHuBERT in miniature on $tag"
    "$python" local/verdict.py "${runs[@]}" --smoke "$smoke"
fi

if stage 7 "Pack the student" "seconds"; then
    for seed in $seeds; do
        seed_dir=$expdir/seed$seed
        need "$seed_dir/models/student/config.json" 4 "the student of seed $seed"
        need "$expdir/report/RESULTS.md" 6
        "$python" ../../TEMPLATE/pack_student.py --model "$seed_dir/models/student" \
            --config "$seed_dir/student/config.yaml" --results "$expdir/report/RESULTS.md" \
            --out "$seed_dir/student.zip"
    done
fi

if stage 8 "Upload" "needs --hf_repo, a token and the network"; then
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    for seed in $seeds; do
        need "$expdir/seed$seed/models/student/config.json" 4
    done
    seed=${seeds%% *}
    "$python" ../../TEMPLATE/upload_student.py --model "$expdir/seed$seed/models/student" \
        --results "$expdir/report/RESULTS.md" --repo "$hf_repo"
fi

stages_done
