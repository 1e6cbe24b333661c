"""Typed Python clients of the Loreline services: plain types and NumPy in and out, deadlines on every call.

with RankingClient("127.0.0.1:50055") as ranking:
ranked = ranking.rank("42", "movies", ["1", "2", "3"])
"""

from loreline.client.channel import is_serving
from loreline.client.embedding import EmbeddingClient, Encoded
from loreline.client.errors import (
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServiceUnavailableError,
)
from loreline.client.features import (
    FeaturesClient,
    ItemBatch,
    ItemDescription,
    KnowledgePage,
    KnowledgeVectors,
    PackedItem,
    PackedUser,
    Stamp,
    UserFeatures,
    WatchBatch,
    pack_item,
    pack_user,
    unpack_item,
    unpack_user,
)
from loreline.client.knowledge import Answer, ElicitedFactors, Failure, KnowledgeClient
from loreline.client.ranking import Ranked, RankingClient

__all__ = [
    "Answer",
    "ClientError",
    "ElicitedFactors",
    "EmbeddingClient",
    "Encoded",
    "FailedPreconditionError",
    "Failure",
    "FeaturesClient",
    "InvalidArgumentError",
    "ItemBatch",
    "ItemDescription",
    "KnowledgeClient",
    "KnowledgePage",
    "KnowledgeVectors",
    "NotFoundError",
    "PackedItem",
    "PackedUser",
    "Ranked",
    "RankingClient",
    "ServiceUnavailableError",
    "Stamp",
    "UserFeatures",
    "WatchBatch",
    "is_serving",
    "pack_item",
    "pack_user",
    "unpack_item",
    "unpack_user",
]
