"""Loreline's server side: processes that are deployed, libraries under them, and the command line above all.

knowledge, embedding, features, updater, ranking   processes; they talk through the contracts in protos/ alone
trainer                                            the training job, and the steps that the command line runs of it
ctr, scenarios, model_registry, runtime, wheel_assets   libraries; none imports another or upwards
cli                                                the `loreline` command; the only one that imports the trainer

import-linter holds this in `make lint`; docs/design.md says why.
"""
