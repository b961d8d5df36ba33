"""Speech on disk: audio checks, Kaldi data folders, corpora, and targets for training."""
