# Environment of the recipe; see egs/TEMPLATE/path.sh.
. ../../TEMPLATE/path.sh
