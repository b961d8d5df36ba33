# What the Whisper recipes of full size share. Source it after stages.sh, from the folder of a
# recipe. The functions read the recipe's options by their names, $data (Kaldi folders), $exp (the
# experiment's folder) and $max_seconds (the models' window).
#
#   locate_teacher; prepare_teacher 60           # stage 0: $teacher_dir, fetched and looked at
#   prepare train commonvoice:DIR@train          # stage 1: $data/train
#   prove_teacher dev                            # stage 2: its WER on a draw of $data/dev
#   derive FOLDER COMMAND...                     # whatever makes FOLDER, once; resumable
#   label train --use_speakers false             # stage 2: $exp/labels/train
#   train_student CONFIG DIR STUDENT OPTION...   # stage 3: training in DIR
#   evaluate FOLDER OPTION...                    # stage 5

. ../../TEMPLATE/training.sh
watch="$watch| left"

# stamps WORD...: what tells whether the models, labels and data among the words are the same.
stamps() {
    local word file
    for word in "$@"; do
        for file in "$word"/labels.jsonl "$word"/wav.scp "$word"/text; do
            if [ -f "$file" ]; then cksum <"$file"; fi
        done
        # Weights are gigabytes; who writes them again changes their time.
        for file in "$word"/model*.safetensors "$word"/model.bin; do
            if [ -f "$file" ]; then stat -c '%s %Y' "$file"; fi
        done
    done
}

# put_aside FOLDER TEXT: make way for what is made of TEXT, unless what is there is made of it. A
# training may have taken a week, so nothing is deleted: it becomes FOLDER.old, FOLDER.old2 ...
put_aside() {
    local old=$1.old number=1
    if [ -e "$1" ] && [ "$(cat "$1.made_from" 2>/dev/null)" != "$2" ]; then
        while [ -e "$old" ]; do old=$1.old$((number += 1)); done
        say "    $1: made of something else or in another way before; that is $old now"
        mv "$1" "$old"
    fi
    mkdir -p "$(dirname "$1")"
    echo "$2" >"$1.made_from"
}

# derive FOLDER COMMAND...: run it unless FOLDER was made by it, of the same models and data; what
# was stopped goes on, what was made of others becomes FOLDER.old. Words in "machine" come behind
# the command and change no result.
machine=()
derive() {
    local folder=$1 stamp made_from log word given=()
    shift
    for word in "$@"; do # what it makes tells nothing about what it is made of
        if [ "$word" != "$folder" ]; then given+=("$word"); fi
    done
    stamp=$(stamps "${given[@]}"; files_of "${given[@]}")
    made_from=("$@" ${stamp:+"$stamp"})
    if [ -e "$folder" ] && is_done "$folder.done" "${made_from[@]}"; then return; fi
    rm -f "$folder.done" # it tells of what was there before
    put_aside "$folder" "${made_from[*]}"
    log=$exp/log/${folder#"$exp/"}.log
    mkdir -p "$(dirname "$log")"
    rotate "$log"
    attended ${cuda_cmd} --gpu "$ngpu" "$log" "$@" "${machine[@]}"
    mark_done "$folder.done" "${made_from[@]}"
}

# locate_teacher: teacher_name and teacher_dir of --teacher, a folder or a hub repository; "spoken",
# the words that name the language, which English-only models do not take.
locate_teacher() {
    teacher_name=$(basename "$teacher")
    teacher_dir=$teacher
    if [ ! -d "$teacher" ]; then teacher_dir=downloads/teachers/$teacher_name; fi
    spoken=(--language "$language")
    if [[ $teacher_name == *.en ]]; then spoken=(); fi
}

# prepare_teacher WANT_GB: stage 0, checks and a teacher that can teach this language.
prepare_teacher() {
    local stamp
    "$python" ../../TEMPLATE/check_machine.py --ngpu "$ngpu" --want_gb "$1" \
        --packages transformers jiwer
    if [ ! -d "$teacher" ] && ! is_done "$teacher_dir/.done" "$teacher" "$teacher_revision"; then
        "$python" ../../TEMPLATE/fetch_whisper.py "$teacher" --revision "$teacher_revision" \
            --out "$teacher_dir"
        mark_done "$teacher_dir/.done" "$teacher" "$teacher_revision"
    fi
    stamp=$(stamps "$teacher_dir")
    if ! is_done "$exp/.done_teacher" "$language" "$teacher_name" "$stamp"; then
        "$python" ../../TEMPLATE/prove_whisper.py "$teacher_dir" --expect "$teacher_name" \
            --language "$language" --json "$exp/teacher.json"
        mark_done "$exp/.done_teacher" "$language" "$teacher_name" "$stamp"
    fi
}

# prepare NAME "SOURCE..." [OPTION...]: stage 1, the Kaldi folder $data/NAME.
prepare() {
    local name=$1 sources=$2 roles=()
    shift 2
    if [ -n "${columns:-}" ]; then roles=(--columns); fi
    # shellcheck disable=SC2086
    "$python" -m espnet_kd.bin.prepare_speech --source $sources --out "$data/$name" \
        --language "$language" --max_bad_share "$max_bad_share" --threads "$nj" \
        "${roles[@]}" ${columns:-} "$@"
}

# draw NAME FROM NUMBER: $data/NAME, so many utterances of $data/FROM.
draw() {
    need "$data/$2/wav.scp" 1 "$2"
    "$python" -m espnet_kd.bin.prepare_speech --source "kaldi:$data/$2" --out "$data/$1" \
        --max_utterances "$3" --seed "$seed" --threads "$nj"
}

# evaluate FOLDER OPTION...: bin.whisper_evaluate into FOLDER.
evaluate() {
    local folder=$1 device=(--device cpu) more
    shift
    if ((ngpu > 0)); then device=(--device cuda --dtype bfloat16); fi
    split_words more "$eval_args"
    derive "$folder" "$python" -m espnet_kd.bin.whisper_evaluate --out "$folder" \
        "${spoken[@]}" --batch_size "$eval_batch" "${device[@]}" "$@" "${more[@]}"
}

# prove_teacher NAME: its WER on --prove_utterances of $data/NAME must be low enough to teach.
prove_teacher() {
    draw proof "$1" "$prove_utterances"
    evaluate "$exp/proof" --models "$teacher_dir" --data "$data/proof" --dataset_id "$corpus_name"
    "$python" ../../TEMPLATE/check_wer.py "$exp/proof" --at_most "$teacher_max_wer"
}

# label NAME OPTION...: pseudo-labels of $data/NAME in $exp/labels/NAME.
label() {
    local name=$1 type=float32 more machine=(--ngpu "$ngpu")
    shift
    need "$data/$name/wav.scp" 1 "speech to label"
    if ((ngpu > 0)); then type=bfloat16; fi
    split_words more "$label_args"
    derive "$exp/labels/$name" "$python" -m espnet_kd.bin.whisper_pseudo_label \
        --model_name_or_path "$teacher_dir" --data_dir "$data/$name" \
        --output_dir "$exp/labels/$name" "${spoken[@]}" \
        --dtype "$type" --return_timestamps true --max_duration_in_seconds "$max_seconds" \
        --per_device_eval_batch_size "$label_batch" "$@" "${more[@]}"
}

# shrink DIR: --encoder_layers and --decoder_layers of the teacher, maximally spaced.
shrink() {
    need "$teacher_dir/config.json" 0 "the teacher"
    derive "$1" "$python" -m espnet_kd.bin.whisper_shrink --teacher_checkpoint "$teacher_dir" \
        --save_dir "$1" --decoder_layers "$decoder_layers" \
        ${encoder_layers:+--encoder_layers "$encoder_layers"}
}

# train_student CONFIG DIR STUDENT OPTION...: a training with the published updates; it goes on
# where it stopped, also with other options, but not with other labels or from another start.
train_student() {
    local config=$1 dir=$2 student=$3 batch more stamp made_from
    shift 3
    batch=$("$python" ../../TEMPLATE/update_plan.py --config "$config" \
        --processes "$(processes)" --utterances "$utterances_per_update" --per_gpu "$per_gpu")
    read -ra batch <<<"$batch"
    say "    ${batch[0]} utterances per batch over $(processes) process(es), ${batch[1]} batch(es)" \
        "per update"
    split_words more "$train_args"
    command=("$python" -m espnet_kd.bin.whisper_distill_train --config "$config"
        --student "$student" --teacher "$teacher_dir" --output_dir "$dir"
        --batch_size "${batch[0]}" --accum_grad "${batch[1]}"
        --num_workers "$num_workers" --seed "$seed" "$@")
    if ((${#spoken[@]})); then command+=(--kd_conf "language=$language"); fi
    if [ "${batch[2]}" != none ]; then command+=(--num_iters_per_epoch "${batch[2]}"); fi
    ((ngpu > 0)) || command+=(--use_amp false)
    command+=("${more[@]}")
    stamp=$(stamps "$@" "$student")
    made_from=("${command[@]}" "$stamp" "$(cksum <"$config")")
    if ! is_done "$dir/.done" "${made_from[@]}"; then
        put_aside "$dir" "$stamp"
        launch "$dir" "${command[@]}"
        mark_done "$dir/.done" "${made_from[@]}"
    fi
}

# export_student DIR TARGET: the student of --epoch of the training in DIR.
export_student() {
    local dir=$1 target=$2 stamp made
    need "$dir/$epoch.pth" 3 "the weights to export"
    stamp=$(stat -c '%s %Y' "$(realpath "$dir/$epoch.pth")")
    if is_done "$target.done" "$epoch" "$stamp"; then return; fi
    rm -f "$target.done"
    case "$epoch" in # the training ends with these very exports
        valid.wer.ave) made=$dir/student ;;
        latest) made=$dir/student_last ;;
        *) made=none ;;
    esac
    mkdir -p "$(dirname "$target")"
    if [ "$made/model.safetensors" -nt "$dir/$epoch.pth" ]; then
        copy_folder "$made" "$target"
    else
        "$python" -m espnet_kd.bin.export --exp "$dir" --epoch "$epoch" --dst "$target"
    fi
    mark_done "$target.done" "$epoch" "$stamp"
}

# pack NAME DIR STUDENT: stage 7, model card and one file.
pack() {
    local name=$1 dir=$2 student=$3 results=() runs=()
    need "$student/config.json" 4 "the student"
    [ ! -f "$exp/report/RESULTS.md" ] || results=(--results "$exp/report/RESULTS.md")
    [ ! -f "$exp/results/$name.json" ] || runs=("$exp/results/$name.json")
    "$python" ../../TEMPLATE/model_card.py --model "$student" --name "$name" \
        --config "$dir/config.yaml" --runs "${runs[@]}" --license "$license" \
        --language "$language" --base_model "$teacher_name"
    "$python" ../../TEMPLATE/pack_student.py --model "$student" --config "$dir/config.yaml" \
        "${results[@]}" --out "$exp/$name.zip"
}

# upload STUDENT: stage 8.
upload() {
    local results=()
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    need "$1/README.md" 7 "the model card"
    [ ! -f "$exp/report/RESULTS.md" ] || results=(--results "$exp/report/RESULTS.md")
    "$python" ../../TEMPLATE/upload_student.py --model "$1" --repo "$hf_repo" "${results[@]}"
}
