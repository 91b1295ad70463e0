"""Run by an emulated Python: MODEL INPUTS.npz OUTPUTS.npz, as often as wanted."""

import sys

import numpy as np

import luthier

words = iter(sys.argv[1:])
for model, given, made in zip(words, words, words, strict=True):
    with np.load(given) as feeds:
        np.savez(made, *luthier.InferenceSession(model, records=None).run(None, dict(feeds)))
