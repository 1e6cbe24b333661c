"""How far a long job has come, in a file, so that the same command goes on where it was broken off."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from services.cli.output import BadInput


@dataclass(frozen=True)
class Standing:
    """The last subject that is done, and how many were published so far."""

    after_id: str = ""
    published: int = 0


class JobFile:
    """The standing of one job, which its words name. Written at once or not at all."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._words, name = list(words), hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
        self._path = folder / f"{name}.json"

    def read(self) -> Standing:
        """The standing of a job that was broken off; the beginning for any other. Raises BadInput."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return Standing(**document["standing"])
        except FileNotFoundError:
            return Standing()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self._path}: cannot be read: remove it to begin anew ({error!r})") from error

    def write(self, standing: Standing) -> None:
        """Keep the standing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"job": self._words, "standing": asdict(standing)}
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
            json.dump(document, file)
        Path(file.name).replace(self._path)

    def finish(self) -> None:
        """Forget the standing: the job begins anew the next time."""
        self._path.unlink(missing_ok=True)
