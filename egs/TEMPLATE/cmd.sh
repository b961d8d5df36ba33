# How commands are started. The interface is ESPnet's and Kaldi's:
#
#   CMD [--gpu N] [--mem 4G] [--num_threads N] [--max-jobs-run N] [JOB=1:N] LOG COMMAND...
#
# run_local.sh starts them on this machine. A cluster's script with the same interface (ESPnet's
# slurm.pl, queue.pl ...) can be put here instead: "slurm.pl --config conf/slurm.conf".

export train_cmd="run_local.sh"   # CPU work: data, features
export cuda_cmd="run_local.sh"    # training
export decode_cmd="run_local.sh"  # decoding and downstream tasks
