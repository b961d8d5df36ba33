# What the stages of egs/librispeech/mvq1/run.sh do. It reads the recipe's options and the names
# that run.sh makes of them: teacher_dir, teacher_name, vq, codes, train, valid, tokens, exp,
# train_dir.

sum_of() { # FILE...: their contents, in a word
    cat "$@" | cksum | tr ' ' '-'
}

once() { # FOLDER MADE_OF COMMAND...: run it unless it ended well before, with a log beside FOLDER
    local folder=$1 made_of=$2 runner=${train_cmd}
    if ((${gpus:-0})); then runner="${cuda_cmd} --gpu $gpus"; fi
    shift 2
    if is_done "$folder.done" "$@" "$made_of"; then return; fi
    if [ -e "$folder" ] && [ "$(cat "$folder.made_of" 2>/dev/null)" != "$made_of" ]; then
        say "    what $folder is made of has changed; the old one is now $folder.old"
        rm -rf "$folder.old"
        mv "$folder" "$folder.old"
    fi
    mkdir -p "$(dirname "$folder")"
    echo "$made_of" >"$folder.made_of"
    rotate "$folder.log"
    attended ${runner} "$folder.log" "$@"
    mark_done "$folder.done" "$@" "$made_of"
}

prove_wer() { # greedy CTC decoding of the test sets by the teacher
    local expect=() device=cpu proof
    if [ "$teacher_name" != hubert_xtralarge_ll60k_finetune_ls960 ]; then
        if [ "$teacher_name" = hubert_xtralarge_ll60k ] || [ ! -f "$dictionary" ]; then
            say "    $teacher_name: not fine-tuned, or no --dictionary: its WER is not known"
            return
        fi
    else
        expect=(--expect 2.04 3.71)
    fi
    ((ngpu == 0)) || device=cuda
    proof=("$python" local/prove_ctc.py "$teacher_dir" --head "$teacher_file"
        --dictionary "$dictionary" --data "$datadir/test-clean" "$datadir/test-other"
        "${expect[@]}" --tolerance "$proof_tolerance" --num_utts "$proof_utts" --device "$device"
        --json "$exp/teacher_wer.json")
    if ! is_done "$exp/.done_proof" "${proof[@]}" "$(sum_of "$teacher_dir/config.json")"; then
        attended "${proof[@]}"
        mark_done "$exp/.done_proof" "${proof[@]}" "$(sum_of "$teacher_dir/config.json")"
    fi
}

own_codes() { # vectors -> quantiser -> codes
    local common_words teacher_sum made_of device=cpu gpus=$ngpu
    need "$teacher_dir/config.json" 0 "the teacher"
    teacher_sum=$(sum_of "$teacher_dir/config.json")
    ((ngpu == 0)) || device=cuda
    common_words=(--teacher "$teacher_dir" --layer "$embedding_layer" --ngpu "$ngpu"
        --normalize "$teacher_normalize")
    made_of="$teacher_sum $teacher_normalize"
    once "$vq/embeddings" "$made_of $num_utts $(sum_of "$datadir/train-clean-100/wav.scp")" \
        "$python" -m espnet_kd.bin.extract_codebook_indexes \
        --data "$datadir/train-clean-100" --num_utts "$num_utts" --out "$vq/embeddings" \
        "${common_words[@]}"
    split_words more "$quantizer_args"
    once "$vq/quantizer" \
        "$quantizer_method $quantizer_args $seed $(sum_of "$vq/embeddings.made_of")" \
        "$python" -m espnet_kd.bin.train_quantizer \
        --embeddings "$vq/embeddings/embeddings.scp" --out "$vq/quantizer" \
        --bytes_per_frame "$num_codebooks" --method "$quantizer_method" --seed "$seed" \
        --device "$device" "${more[@]}"
    split_words more "$extract_args"
    made_of+=" $extract_args $(sum_of "$vq/quantizer/config.json" "$train/wav.scp")"
    once "$codes" "$made_of" "$python" -m espnet_kd.bin.extract_codebook_indexes --data "$train" \
        --quantizer "$vq/quantizer" --out "$codes" "${common_words[@]}" "${more[@]}"
}

extracted_codes() { # those of others
    local source=${codes_dir:-downloads/codes/$teacher_model_id} manifests=() pattern
    if [ -z "$codes_dir" ]; then
        # shellcheck disable=SC2086
        "$python" $common/download.py codes --name "$teacher_model_id" --out "$source" \
            --splits $train_splits
    fi
    [ -d "$source" ] || die "--codes_dir $source: no such folder"
    # Unquoted patterns would be expanded here.
    set -f
    for pattern in ${codes_manifests:-${train_splits//train-/*}}; do
        [ -n "$codes_manifests" ] || pattern+="*.jsonl.gz"
        manifests+=("$source/$pattern")
    done
    set +f
    once "$codes" "$source $codes_manifests $(sum_of "$train/wav.scp")" \
        "$python" -m espnet_kd.bin.import_codebook_indexes \
        --manifest "${manifests[@]}" --storage_dir "$source" --data "$train" \
        --out "$codes"
}

streams_with_text() { # "words": both sets for the trainer, with codes in training
    local part folder
    words=(--token_list "$tokens/tokens.txt" --bpemodel "$tokens/bpe.model" --token_type bpe)
    for part in train valid; do
        folder=${!part}
        words+=("--${part}_data_path_and_name_and_type" "$folder/wav.scp,speech,sound"
            "--${part}_data_path_and_name_and_type" "$folder/text,text,text")
    done
}

decode_set() { # SET: in nj parts, which are joined
    local set=$1 dir=$exp/decode/$1 jobs options command part
    need "$datadir/$set/wav.scp" 1 "the test set"
    options=(--max-jobs-run "$nj")
    if $gpu_decode; then options=(--gpu 1 --max-jobs-run 1); fi
    jobs=$(awk -v n="$nj" 'END { print NR < n ? NR : n }' "$datadir/$set/wav.scp")
    split_words more "$decode_args"
    command=("$python" -m espnet2.bin.asr_transducer_inference)
    # The same command, after it has heard of kd_stateless.
    ((context_size == 1)) || command=("$python" -m espnet_kd.bin.espnet asr_transducer_inference)
    command+=(--config conf/decode.yaml --ngpu "$($gpu_decode && echo 1 || echo 0)"
        --output_dir "$dir/JOB" --key_file "$dir/keys.JOB" --beam_size "$beam_size" --num_workers 0
        --data_path_and_name_and_type "$datadir/$set/wav.scp,speech,sound"
        --asr_train_config "$train_dir/config.yaml" --asr_model_file "$exp/model.pth" "${more[@]}")
    if is_done "$dir/.done" "${command[@]}" "$(sum_of "$exp/model.json" "$exp/.done_export")"; then
        return
    fi
    rm -rf "$dir"
    mkdir -p "$dir"
    for ((part = 1; part <= jobs; part++)); do
        awk -v n="$jobs" -v part="$part" 'NR % n == part % n { print $1 }' \
            "$datadir/$set/wav.scp" >"$dir/keys.$part"
    done
    watch="" attended ${decode_cmd} "${options[@]}" JOB=1:"$jobs" \
        "$dir/log/JOB.log" "${command[@]}"
    for ((part = 1; part <= jobs; part++)); do cat "$dir/$part/1best_recog/text"; done |
        sort >"$dir/text"
    mark_done "$dir/.done" "${command[@]}" "$(sum_of "$exp/model.json" "$exp/.done_export")"
}
