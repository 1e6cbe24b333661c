"""One spelling for equal values, so that what is made from it, such as a hash, is equal too."""

from __future__ import annotations

import json


def canonical_json(value: object) -> str:
    """A value as JSON with sorted keys and without spaces. Raises TypeError for what JSON cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
