"""`loreline data load`, `train` and `domains`.

datasets.py and configs.py check what was named and need neither PyTorch nor Feast; runs.py and domain_runs.py train,
and are imported when they are reached.
"""
