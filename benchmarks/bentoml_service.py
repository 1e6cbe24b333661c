"""The plain path hosted by BentoML: bentoml serve benchmarks.bentoml_service:PlainRanking, in BentoML's environment."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml

from benchmarks.plain_path import FOLDER_VARIABLE, with_onnx


@bentoml.service(workers=int(os.environ.get("PLAIN_PATH_WORKERS", "1")), traffic={"timeout": 60})
class PlainRanking:
    """POST /rank with user_id and candidates; answers item_ids and scores, best first."""

    def __init__(self) -> None:
        self._path = with_onnx(Path(os.environ[FOLDER_VARIABLE]))

    @bentoml.api
    def rank(self, user_id: str, candidates: list[str]) -> dict[str, list[str] | list[float]]:
        """Rank the candidates for the user."""
        item_ids, scores = self._path.rank(user_id, candidates)
        return {"item_ids": item_ids, "scores": scores}
