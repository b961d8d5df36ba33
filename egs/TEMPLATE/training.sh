# What recipes of full size share about training: logs on the terminal, several GPUs and hosts.
# Source it after stages.sh. The functions read python, ngpu, num_nodes, hosts and $exp, the folder
# of the experiment.

# Lines of the training log that the terminal shows, and how much of them.
watch='epoch results|% done|[Ee]rror:|[Rr]esum'
watch_edit='s/^\[[^]]*\] [0-9 :,-]+\([^)]*\) [A-Z]+: /    /
s/\[train\][^[]* loss=([^,]+),[^[]*\[valid\] loss=([^,]+).*/train loss \1, valid loss \2/'
export watch watch_edit

options_of() { # NAME...: those that are set, as they are typed
    local name
    for name in "$@"; do
        case "${!name}" in '' | 0 | false) ;; *) printf ' --%s %q' "$name" "${!name}" ;; esac
    done
}

# unique WORD...: each once, in their order.
unique() { printf '%s\n' "$@" | awk '!seen[$0]++'; }

# processes: how many the training will have, of all nodes.
processes() {
    if [ -n "$hosts" ]; then
        # host:0:1 names its GPUs, a host alone uses --ngpu
        echo "$hosts" | tr ',' '\n' |
            awk -F: -v n="$((ngpu > 0 ? ngpu : 1))" '{ sum += NF > 1 ? NF - 1 : n } END { print sum }'
    else
        echo $(((ngpu > 0 ? ngpu : 1) * num_nodes))
    fi
}

# launch DIR COMMAND...: run a training that writes to DIR and logs to DIR.log, on this machine, on
# several nodes or on hosts; it goes on where it stopped.
launch() {
    local dir=$1 word nodes words
    shift
    if [ -n "$hosts" ] || ((num_nodes > 1)); then
        nodes=(--num_nodes "$num_nodes") words=("$@")
        if [ -n "$hosts" ]; then
            mkdir -p "$exp"
            printf 'python=%q\n. %q\n' "$python" "$MAIN_ROOT/egs/TEMPLATE/path.sh" >"$exp/env.sh"
            nodes=(--host "$hosts" --envfile "$exp/env.sh") words=()
            # ESPnet's launcher pastes the words into a script for ssh.
            for word in "$@"; do words+=("$(printf '%q' "$word")"); done
        fi
        attended "$python" -m espnet2.bin.launch --cmd "${cuda_cmd}" \
            --log "$dir.log" --ngpu "$ngpu" "${nodes[@]}" \
            --init_file_prefix "$dir/.dist_init_" \
            --multiprocessing_distributed true -- "${words[@]}"
    else
        rotate "$dir.log"
        attended ${cuda_cmd} --gpu "$ngpu" --num_threads "$((ngpu > 0 ? ngpu : 1))" \
            "$dir.log" "$@" --ngpu "$ngpu" \
            --multiprocessing_distributed "$( ((ngpu > 1)) && echo true || echo false)"
    fi
}

# copy_folder SOURCE TARGET: TARGET is replaced as a whole.
copy_folder() {
    rm -rf "$2.new"
    cp -r "$1" "$2.new"
    rm -rf "$2"
    mv "$2.new" "$2"
}
