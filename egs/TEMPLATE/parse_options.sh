# Turns "--name value" into the shell variable name=value. Source it after setting the defaults:
#
#   stage=0            # first stage to run
#   . parse_options.sh
#
# Only variables set above that line are options; the comment beside a default is its help text.
# --name=value works too, "-" in names means "_". --help prints the comment at the head of the
# script. A default of true or false accepts only true or false. Leftovers in "$@" are an error.

# $0 is relative to where the script was started; recipes change into their folder first.
kd_script=$0
[ -f "$kd_script" ] || kd_script=./$(basename "$0")
kd_options=" $(sed -n -e '/^\(\.\|source\) .*parse_options\.sh/q' \
    -e 's/^\([a-z][a-z0-9_]*\)=.*/\1/p' "$kd_script" | awk '!/^kd_/ && !seen[$0]++' | tr '\n' ' ')"

kd_help() {
    local kd_name kd_text
    sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$kd_script"
    echo "Options (and their defaults):"
    for kd_name in $kd_options; do
        kd_text=$(sed -n "s/^$kd_name=[^#]*[^#]#  *//p" "$kd_script" | head -n 1)
        printf '  --%-18s %s (%s)\n' "$kd_name" "$kd_text" "${!kd_name}"
    done
}

kd_option_error() {
    echo "$(basename "$0"): $*; --help explains the options" >&2
    exit 2
}

# Its own variables have a prefix: an option may be called "name".
kd_set_option() {
    local kd_name=${1//-/_} kd_value=$2
    if [[ $kd_name == *[!a-z0-9_]* || $kd_options != *" $kd_name "* ]]; then
        kd_option_error "unknown option --$1; known are:$(printf ' --%s' $kd_options)"
    fi
    case "${!kd_name}:$kd_value" in
        true:true | true:false | false:true | false:false) ;;
        true:* | false:*) kd_option_error "--$1 is true or false, not '$kd_value'" ;;
    esac
    printf -v "$kd_name" '%s' "$kd_value"
}

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            kd_help
            exit 0
            ;;
        --*=*)
            kd_argument=${1#--}
            kd_set_option "${kd_argument%%=*}" "${kd_argument#*=}"
            shift
            ;;
        --*)
            [ $# -ge 2 ] || kd_option_error "$1 needs a value"
            kd_set_option "${1#--}" "$2"
            shift 2
            ;;
        *)
            kd_option_error "unexpected argument '$1'"
            ;;
    esac
done
