"""Training: from a log of interactions and stored knowledge to a registered model version.

data         datasets, the interaction log, samples and their split, the offline store (Feast)
knowledge    knowledge of a whole dataset: asked in bulk, by groups, or read from files
evaluation   what scores are worth: metrics, and whether a difference is more than chance. NumPy alone
training     configs, batches, networks, objectives, the loop and its checkpoints, experiments
release      export to ONNX, the golden set, registration, promotion
multi_domain the same over several domains: Uni-CTR, its student, and the networks it is compared with

Each may import those above it in this list. Only services/cli and the training job (__main__.py) import the trainer.
"""
