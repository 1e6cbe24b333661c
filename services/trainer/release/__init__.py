"""From a trained network to one that serves.

version.py            a whole run: trained off and on, exported, registered
export.py, onnx_files.py, uni_ctr_export.py    ONNX files, each compared with its network
golden_requests.py    requests whose answers a version must give again wherever it runs
bound_reranker.py     a re-ranker on a version's augmented vectors
promotion.py          adapts stored vectors for a version and makes it the active one
"""
