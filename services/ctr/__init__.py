"""Networks of click-through-rate prediction: backbones, and KAR's adaptor that feeds knowledge to any of them.

One legend of letters: B batch (users), C candidates, L history, F item fields, D embedding width, K knowledge width,
A augmented width, E experts. Torch only: no files, no devices, no optimizers.
"""
