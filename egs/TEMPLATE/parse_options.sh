# Turns "--name value" into the shell variable name=value. Source it after setting the defaults:
#
#   stage=0          # defaults first: only variables that exist can be set
#   . parse_options.sh
#
# --name=value works too, "-" in names means "_". --help prints the comment at the head of the script.
# A default of true or false accepts only true or false. What is left in "$@" is an error.

kd_help() {
    sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"
    echo "Options and their defaults:"
    kd_option_names | while read -r name; do
        printf '  --%-22s (%s)\n' "$name" "${!name}"
    done
}

# Names of the lower-case variables that the script has set (its options).
kd_option_names() {
    sed -n 's/^\([a-z][a-z0-9_]*\)=.*/\1/p' "$0" | awk '!seen[$0]++' |
        while read -r name; do
            if [ "${!name+set}" = set ]; then echo "$name"; fi
        done
}

kd_option_error() {
    echo "$(basename "$0"): $*; --help lists the options" >&2
    exit 2
}

kd_set_option() {
    local name=$1 value=$2
    if ! kd_option_names | grep -qx -- "$name"; then
        kd_option_error "unknown option --$name"
    fi
    case "${!name}" in
        true | false)
            case "$value" in
                true | false) ;;
                *) kd_option_error "--$name is true or false, not '$value'" ;;
            esac
            ;;
    esac
    printf -v "$name" '%s' "$value"
}

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            kd_help
            exit 0
            ;;
        --*=*)
            kd_argument=${1#--}
            kd_name=${kd_argument%%=*}
            kd_set_option "${kd_name//-/_}" "${kd_argument#*=}"
            shift
            ;;
        --*)
            kd_name=${1#--}
            [ $# -ge 2 ] || kd_option_error "$1 needs a value"
            kd_set_option "${kd_name//-/_}" "$2"
            shift 2
            ;;
        *)
            kd_option_error "unexpected argument '$1'"
            ;;
    esac
done
