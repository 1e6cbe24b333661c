"""The knowledge service: asks a language model what an item is about and what a user likes, and keeps the answers.

prompts.py, fitting.py                      a scenario's templates and factors, filled and made to fit
asking.py, generator.py, sampling.py        who is asked how often, and what of it is shared between calls
providers/                                  a file each: a server by HTTP, a model in this process, the catalogue
text_checks.py, contradictions.py,
agreement.py, suspects.py                   whether a text may be served
store.py, archive.py, budget.py             answers by what made them, and what was spent
servicer.py                                 the contract loreline.knowledge.v1

Knows nothing of vectors, features or Kafka.
"""
