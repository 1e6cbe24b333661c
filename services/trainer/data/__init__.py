"""What a run is trained on: where it comes from, and how it is cut.

datasets/            loaders: files to items, users and a log, checked
interaction_log.py   the log as columns; of how many of a user's first interactions knowledge is made (`told_count`)
samples.py           samples, their split and the vocabulary; list_samples.py those of re-ranking
knowledge_rows.py    knowledge with vectors, as the offline store holds it
offline_store.py     writes and reads the Parquet sources of Feast's views

Where a sample's history ends is decided in InteractionLog.known_end, and nowhere else.
"""
