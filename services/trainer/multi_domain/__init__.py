"""Training over several domains at once: one network for all (Uni-CTR, arXiv 2312.10743), or those it is compared with.

config.py             what such a run can be told; reading it needs no PyTorch
domain_data.py        samples by domain, split by time within each; features.py and token_table.py are two views of them
learners.py           one face for networks on prompts and on categorical features
training.py, loop.py  trains a config's networks, and a domain that comes later with the rest frozen
distillation.py       a small student that learns from a Uni-CTR version
registration.py, student_registration.py, stored_versions.py    versions written and read again
"""
