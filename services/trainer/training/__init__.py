"""Trains one network of a run.

config.py, configs/   what a run can be told; reading it needs no PyTorch
run.py                gathers a run's data and trains a network on it, telling an observer
batches.py            samples looked up in the log, on the device
networks.py           builds networks by a config, and lets them score
objectives.py         losses and the metric that decides, of clicks and of lists
loop.py, checkpoint.py    epochs in one or several processes, early stop, going on after an end
experiments.py        many runs compared with knowledge off and on, each kept
"""
