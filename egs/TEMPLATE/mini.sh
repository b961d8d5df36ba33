# What the recipes of egs/mini share. Source it after the options, path.sh and cmd.sh; it reads
# python, corpus, tag, datadir, expdir, train_set, valid_set, tasks, num_classes, nj, ngpu, smoke and
# teacher_args, and sets tag, data and expdir.
#
#   prepare_speech                                                  # stage 1
#   train student conf/student.yaml false 1 --teacher "$teacher"    # into $seed_dir/student
#   train_whisper student conf/distil.yaml 1 --student DIR ...      # likewise, a Whisper
#   derive "$seed_dir/labels" COMMAND...                            # whatever else makes a folder
#   train_teacher                                                   # into $seed_dir/teacher
#   downstream teacher student                                      # of $seed_dir/models
#
# Of a training, what ended well with the same options is not repeated, what stopped goes on, and
# what was made from models that are no longer the same is put aside.

tag=${tag:-${corpus%%:*}}
kd_size=mini
kd_smoke_options=""
kd_override=""
if $smoke; then
    tag+=_smoke
    kd_size=smoke
    kd_smoke_options="--max_epoch 1 --num_iters_per_epoch 3 --batch_bins 200000"
    kd_override="config.runner.total_steps=4,,config.runner.eval_step=4,,config.runner.save_step=4"
fi
data=$datadir/$tag
expdir=$expdir/$tag

. "$MAIN_ROOT/egs/TEMPLATE/stages.sh"

prepare_speech() { # make or find the corpus, and check its tables
    watch="" ${train_cmd} "$expdir/log/prepare_data.log" \
        "$python" -m espnet_kd.bin.prepare_data --corpus "$corpus" --out "$data" \
        --size "$kd_size" --processes "$nj" --speaker_id true
    "$python" -m espnet_kd.bin.check_data "$data/$train_set" "$data/$valid_set" "$data/test-clean"
}

# Lines of the training logs that the terminal shows, and how much of them.
watch='epoch results|% done|[Ee]rror:|[Rr]esum'
watch_edit='s/^\[[^]]*\] [0-9 :,-]+\([^)]*\) [A-Z]+: //
s/\[train\][^[]* loss=([^,]+),[^[]*\[valid\] loss=([^,]+).*/train loss \1, valid loss \2/'
export watch

kd_data_options() { # CODES(true|false): data of one run, as ESPnet options
    local codes=$1 which folder
    for which in train valid; do
        folder=$data/$train_set
        if [ $which = valid ]; then folder=$data/$valid_set; fi
        printf -- ' --%s_data_path_and_name_and_type %s/wav.scp,speech,sound' $which "$folder"
        if $codes; then
            printf -- ' --%s_data_path_and_name_and_type %s/codes,codes,text_int' $which "$folder"
        fi
        printf -- ' --%s_shape_file %s/utt2num_samples' $which "$folder"
    done
}

kd_models_of() { # WORD...: a checksum for each folder of a model or of labels among the words
    local word file
    for word in "$@"; do
        for file in labels.jsonl text wav.scp config.json; do
            if [ -f "$word/$file" ]; then cksum <"$word/$file"; fi
        done
        # Our own config.json holds the weights' checksum, Hugging Face's does not.
        if [ -f "$word/generation_config.json" ]; then cksum <"$word/model.safetensors"; fi
    done
}

kd_put_aside() { # NAME MODELS: make way for a run that is made from MODELS
    local folder=$seed_dir/$1 models=$2
    if [ -f "$folder/.made_from" ] && [ "$(cat "$folder/.made_from")" != "$models" ]; then
        say "    $1: the models that it is made from have changed; the old run is now $folder.old"
        rm -rf "$folder.old"
        mv "$folder" "$folder.old"
    elif [ -f "$folder/.done_train" ]; then
        say "    $1: ended before with other options; goes on from there, so that only more epochs" \
            "have an effect. To start afresh, remove $folder"
    fi
    mkdir -p "$folder"
    echo "$models" >"$folder/.made_from"
}

kd_run() { # COMMAND...: a signal to this shell ends it at once
    "$@" &
    # A shell that waits hears signals at once; the command has to hear them too.
    # shellcheck disable=SC2064
    trap "kill $! 2>/dev/null; exit 143" TERM
    wait_all $!
    trap 'exit 143' TERM
}

derive() { # FOLDER COMMAND...: run it unless FOLDER was made by it of the same models and data
    local folder=$1 models made_from word others=()
    shift
    for word in "$@"; do
        if [ "$word" != "$folder" ]; then others+=("$word"); fi
    done
    models=$(kd_models_of "${others[@]}"; files_of "${others[@]}")
    made_from=("$@" ${models:+"$models"})
    if is_done "$folder.done" "${made_from[@]}"; then return; fi
    rm -f "$folder.done" # it tells of what was there before
    # What was stopped goes on, of what else is there nothing can be used.
    if [ "$(cat "$folder.made_from" 2>/dev/null)" != "${made_from[*]}" ]; then rm -rf "$folder"; fi
    mkdir -p "$(dirname "$folder")"
    echo "${made_from[*]}" >"$folder.made_from"
    kd_run ${train_cmd} "$seed_dir/log/${folder#"$seed_dir/"}.log" "$@"
    mark_done "$folder.done" "${made_from[@]}"
}

kd_train() { # NAME CONFIG THREADS COMMAND OPTIONS...: what train and train_whisper share
    local name=$1 config=$2 threads=$3 command models
    local mark=$seed_dir/$name/.done_train
    models=$(kd_models_of "${@:5}")
    command=("$python" -m "espnet_kd.bin.$4" --config "$config" --seed "$seed"
        --ngpu "$ngpu" --num_workers 0 --output_dir "$seed_dir/$name" "${@:5}")
    local made_from=("${command[@]}" "$(cksum <"$config")" "$(cksum <"$data/$train_set/wav.scp")"
        ${models:+"$models"})
    if is_done "$mark" "${made_from[@]}"; then return; fi
    kd_put_aside "$name" "$models"
    watch_edit="$watch_edit;s/^/    $name: /" kd_run ${cuda_cmd} --gpu "$ngpu" \
        --num_threads "$threads" "$seed_dir/log/train_$name.log" "${command[@]}"
    mark_done "$mark" "${made_from[@]}"
}

train() { # NAME CONFIG CODES THREADS OPTIONS...: one training run; ESPnet resumes it if it stopped
    local name=$1 config=$2 codes=$3 threads=$4
    shift 4
    # shellcheck disable=SC2046,SC2086
    kd_train "$name" "$config" "$threads" ssl_distill_train $(kd_data_options "$codes") \
        $kd_smoke_options "$@"
}

train_whisper() { # NAME CONFIG THREADS OPTIONS...: the same for a Whisper, data among the options
    local name=$1 config=$2 threads=$3 short=()
    shift 3
    if $smoke; then
        short=(--max_epoch 1 --num_iters_per_epoch 2 --batch_size 4 --scheduler_conf warmup_steps=1)
    fi
    kd_train "$name" "$config" "$threads" whisper_distill_train "${short[@]}" "$@"
}

train_teacher() { # a HuBERT on cluster targets, which must tell masked sounds apart
    if [ ! -s "$data/$train_set/codes" ] || [ ! -s "$data/$valid_set/codes" ]; then
        watch="" ${train_cmd} "$expdir/log/make_clusters.log" \
            "$python" -m espnet_kd.bin.make_clusters "$data/$train_set" "$data/$valid_set" \
            --num_classes "$num_classes"
    fi
    # shellcheck disable=SC2086
    train teacher ../conf/train_teacher.yaml true "$nj" $teacher_args
    # It has to predict masked sounds far better than chance, or it teaches nothing.
    "$python" ../../TEMPLATE/check_teacher.py "$seed_dir/teacher/student" \
        --curves "$seed_dir/teacher/tensorboard" --num_classes "$num_classes" --smoke "$smoke"
}

downstream() { # MODEL...: S3PRL's tasks of models in $seed_dir/models
    local name models=()
    for name in "$@"; do
        need "$seed_dir/models/$name/config.json" 4 "a model of seed $seed"
        models+=("$name=$seed_dir/models/$name")
    done
    # shellcheck disable=SC2086
    attended "$python" ../../TEMPLATE/downstream_jobs.py --corpus "$data/corpus/corpus.json" \
        --models "${models[@]}" --tasks $tasks --conf ../conf --out "$seed_dir/downstream" \
        --seed "$seed" --nj "$nj" --ngpu "$ngpu" --override "$kd_override" \
        --extra "--feature_memory 1"
}
