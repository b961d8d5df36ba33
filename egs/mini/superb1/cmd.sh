# How commands are started; see egs/TEMPLATE/cmd.sh for the interface.
. ../../TEMPLATE/cmd.sh
