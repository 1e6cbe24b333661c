"""Which version ranks whom: the active one, a canary or a shadow beside it, and the share without knowledge.

It is the content of `active.json`, which is replaced as a whole. Who is in a share is a pure function of user id and
salt: the same user stays in it for as long as the share lasts, a larger share holds all of the smaller one, and two
shares are independent of each other.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["canary", "shadow"]


class OtherCandidate(Exception):
    """Another version runs beside the active one; vectors are kept of only two."""


class Share(BaseModel):
    """A share of the users, 0 to 1."""

    model_config = ConfigDict(frozen=True)

    share: float = Field(gt=0, le=1)
    salt: str

    def holds(self, user_id: str) -> bool:
        """Whether the user is in the share."""
        return position(user_id, self.salt) < self.share


class VersionShare(Share):
    """A share of the users that a version scores, or scores too."""

    version: str


class Traffic(BaseModel):
    """What `active.json` holds. A version beside the active one is the canary, the shadow, or both."""

    model_config = ConfigDict(frozen=True)

    active: str | None = None
    previous: str | None = None
    canary: VersionShare | None = None
    shadow: VersionShare | None = None
    knowledge_off: Share | None = None

    @property
    def candidate(self) -> str | None:
        """The version beside the active one."""
        beside = self.canary or self.shadow
        return beside.version if beside else None

    def promoted(self, version: str) -> Traffic:
        """With another active version, and so no canary or shadow; the experiment with knowledge goes on."""
        if version == self.active:
            return self
        return Traffic(active=version, previous=self.active, knowledge_off=self.knowledge_off)

    def without_candidate(self) -> Traffic:
        """Everybody on the active version."""
        return self.model_copy(update={"canary": None, "shadow": None})

    def with_candidate(self, kind: Kind, version: str, share: float) -> Traffic:
        """A share of the users on a version; users who are in it already stay in it. Raises OtherCandidate.

        The version must be neither the active one nor another one than the candidate of the other kind.
        """
        other = self.shadow if kind == "canary" else self.canary
        if other and other.version != version:
            raise OtherCandidate(f"version {other.version} runs beside the active one: stop it before {version} begins")
        if version == self.active:
            raise OtherCandidate(f"version {version} is the active one, it cannot run beside itself")
        before: VersionShare | None = getattr(self, kind)
        salt = before.salt if before and before.version == version else uuid.uuid4().hex
        return self.model_copy(update={kind: VersionShare(version=version, share=share, salt=salt)})

    def with_knowledge_off(self, share: float) -> Traffic:
        """A share of the users of the active version without knowledge; 0 ends the experiment."""
        salt = self.knowledge_off.salt if self.knowledge_off else uuid.uuid4().hex
        return self.model_copy(update={"knowledge_off": Share(share=share, salt=salt) if share else None})


def position(user_id: str, salt: str) -> float:
    """Where the user stands on the line from 0 to 1 (exclusive), equally likely everywhere."""
    digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=salt.encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
