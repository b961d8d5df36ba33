# What the LibriSpeech recipes share. Source it after egs/TEMPLATE/stages.sh, from the folder of a
# recipe. The functions read the recipe's options by their names, and $exp, its experiment's folder.

common=../common

. ../../TEMPLATE/training.sh

if [ -d "$librispeech/LibriSpeech" ]; then librispeech=$librispeech/LibriSpeech; fi
commands_dir=${speech_commands:-downloads/SpeechCommands}
lexicon_files=${lexicon:-downloads/lexicon/librispeech-lexicon-200k-g2p.txt \
    downloads/lexicon/librispeech-lexicon-allothers-g2p.txt}

# training_data HOURS: train_splits, and train_set, which they make.
training_data() {
    case "$1" in
        100) train_splits="train-clean-100" train_set=train-clean-100 ;;
        *) train_splits="train-clean-100 train-clean-360 train-other-500" train_set=train-960 ;;
    esac
}

# locate_teacher NAME: teacher_name and teacher_dir of --teacher, or of NAME, which is fetched.
locate_teacher() {
    teacher_name=$1
    if [ -n "$teacher" ]; then
        teacher_name=$(basename "$teacher")
        teacher_name=${teacher_name%.pt}
        teacher_name=${teacher_name%.pth}
    fi
    teacher_dir=$expdir/teachers/$teacher_name
    # A teacher in our format is used where it is; others are converted.
    if grep -qs espnet_kd_speech_encoder "$teacher/config.json"; then teacher_dir=$teacher; fi
}

# prepare_teacher WANT_GB: stage 0, checks and a proved teacher in our format.
prepare_teacher() {
    local source=$teacher format=huggingface expect="" sum
    "$python" ../../TEMPLATE/check_machine.py --ngpu "$ngpu" --want_gb "$1"
    if [ ! -f "$teacher_dir/config.json" ]; then
        if [ -z "$teacher" ]; then
            source=downloads/teachers/$teacher_name
            "$python" $common/download.py teacher --name "$teacher_name" --out "$source" \
                --source "$teacher_source" --revision "$teacher_revision" --sha256 "$teacher_sha256"
            [ "$teacher_source" = huggingface ] || source=$source.pt
        fi
        [ -e "$source" ] || die "--teacher $source: no such file or folder"
        [ -d "$source" ] || format=fairseq
        [[ $source != *.pth ]] || format=dphubert
        "$python" -m espnet_kd.bin.convert --from "$format" --src "$source" --dst "$teacher_dir"
    fi
    [ -n "$teacher" ] || expect=$teacher_name
    sum=$(sha256sum "$teacher_dir/model.safetensors")
    if ! is_done "$exp/.done_teacher" "$expect" "${sum%% *}"; then
        "$python" $common/prove_teacher.py "$teacher_dir" --expect "$expect" \
            --json "$exp/teacher.profile.json"
        mark_done "$exp/.done_teacher" "$expect" "${sum%% *}"
    fi
}

# prepare_splits SPLIT...: stage 1, their Kaldi folders, and what downstream tasks need.
prepare_splits() {
    "$python" $common/download.py librispeech --out "$librispeech" --url "$librispeech_url" \
        --splits "$@"
    if [[ " $superb_tasks " == *" pr "* && -z $lexicon ]]; then
        "$python" $common/download.py lexicon --out downloads/lexicon
    fi
    if [[ " $superb_tasks " == *" ks "* && -z $speech_commands ]]; then
        "$python" $common/download.py commands --out "$commands_dir"
    fi
    "$python" -m espnet_kd.bin.prepare_data --corpus "librispeech:$librispeech" \
        --out "$datadir" --splits "$@" --skip_bad "$skip_bad"
}

# join_splits SET SPLIT...: one Kaldi folder of several; nothing to do where SET is the only one.
join_splits() {
    local target=$1 split parts=()
    shift
    for split in "$@"; do
        need "$datadir/$split/wav.scp" 1 "a part of $target"
        parts+=("$datadir/$split")
    done
    [ "$target" = "$*" ] || "$python" $common/combine.py "${parts[@]}" --out "$datadir/$target"
}

# bucket_tables: S3PRL's tables of lengths, unless they are there.
bucket_tables() {
    local split missing=()
    for split in train-clean-100 dev-clean test-clean; do
        [ -f "$datadir/bucket/$split.csv" ] || missing+=("$split")
    done
    if ((${#missing[@]})); then
        "$python" -m s3prl_upstreams.make_bucket_files "$librispeech" --splits "${missing[@]}" \
            --out "$datadir/bucket"
    else
        say "    $datadir/bucket: kept"
    fi
}

# streams_of TRAIN VALID: "streams", the words that give both sets to the trainer.
streams_of() {
    local part folder
    streams=()
    for part in train valid; do
        folder=$datadir/$1
        streams+=("--${part}_data_path_and_name_and_type" "$folder/wav.scp,speech,sound"
            "--${part}_shape_file" "$folder/utt2num_samples")
        shift
    done
    streams=(--num_workers "$num_workers" --seed "$seed" "${streams[@]}")
    ((ngpu > 0)) || streams+=(--use_amp false)
}

# export_student DIR STAGE: the student of --epoch of the training in DIR, and its profile.
export_student() {
    local dir=$1 made sum
    need "$dir/$epoch.pth" "$2" "the weights to export"
    sum=$(sha256sum "$(realpath "$dir/$epoch.pth")")
    if is_done "$exp/.done_export" "$epoch" "${sum%% *}"; then return; fi
    # Training ends with these very exports.
    case "$epoch" in
        valid.loss.ave) made=$dir/student ;;
        latest) made=$dir/student_last ;;
        *) made=none ;;
    esac
    if [ "$made/model.safetensors" -nt "$dir/$epoch.pth" ]; then
        copy_folder "$made" "$student_dir"
    else
        "$python" -m espnet_kd.bin.export --exp "$dir" --epoch "$epoch" --dst "$student_dir"
    fi
    "$python" -m espnet_kd.bin.profile "$student_dir" --json "$exp/student.profile.json"
    mark_done "$exp/.done_export" "$epoch" "${sum%% *}"
}

# downstream TASK...: train and evaluate S3PRL's downstream models of --superb_models.
downstream() {
    local models=() data=("asr=$librispeech" "pr=$librispeech" "ks=$commands_dir") name options=()
    [ -d "$commands_dir" ] || data[2]="ks="
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

# score SYSTEM CURVES OPTION...: stage 6, scores beside the published ones and the report; CURVES is
# the training whose curves it shows, OPTIONs those that the recorded command names.
score() {
    local system=$1 curves=$2 name runs=()
    shift 2
    # shellcheck disable=SC2086
    "$python" $common/collect.py --exp "$exp" --system "$system" --teacher "$teacher_name" \
        --models $superb_models --seed "$seed" --curves "$curves" \
        --command "egs/librispeech/$(basename "$PWD")/run.sh$(options_of "$@")"
    for name in $superb_models; do runs+=("$exp/results/$name.json"); done
    "$python" -m espnet_kd.bin.report --runs "${runs[@]}" --out "$exp/report" \
        --title "$system on LibriSpeech and SUPERB"
}

# pack SYSTEM DIR...: stage 7, the student of the trainings in DIRs (the last one made it) with its
# model card.
pack() {
    local system=$1 configs results=() runs=()
    shift
    configs=("${@/%//config.yaml}")
    need "$student_dir/config.json" 4 "the student"
    [ ! -f "$exp/report/RESULTS.md" ] || results=(--results "$exp/report/RESULTS.md")
    [ ! -f "$exp/results/student.json" ] || runs=("$exp/results/student.json")
    "$python" ../../TEMPLATE/model_card.py --model "$student_dir" --name "$system" \
        --config "${configs[@]}" --runs "${runs[@]}" --license "$license"
    "$python" ../../TEMPLATE/pack_student.py --model "$student_dir" --config "${configs[-1]}" \
        "${results[@]}" --out "$exp/$system.zip"
}

# upload: stage 8.
upload() {
    local results=()
    [ -n "$hf_repo" ] || die "stage 8 needs --hf_repo NAME/MODEL"
    need "$student_dir/README.md" 7 "the model card"
    [ ! -f "$exp/report/RESULTS.md" ] || results=(--results "$exp/report/RESULTS.md")
    "$python" ../../TEMPLATE/upload_student.py --model "$student_dir" --repo "$hf_repo" \
        "${results[@]}"
}
