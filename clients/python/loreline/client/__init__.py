"""Typed Python clients of the Loreline services: plain types and NumPy in and out, deadlines on every call.

with RankingClient("127.0.0.1:50055") as ranking:
    ranked = ranking.rank("42", "movies", ["1", "2", "3"])

async with AsyncRankingClient("127.0.0.1:50055") as ranking:
    ranked = await ranking.rank("42", "movies", ["1", "2", "3"])
"""

from loreline.client.active_vectors import adapt_for_all
from loreline.client.channel import ClientOptions, is_serving
from loreline.client.embedding import AsyncEmbeddingClient, EmbeddingClient
from loreline.client.embedding_calls import Encoded
from loreline.client.errors import (
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    ServiceUnavailableError,
)
from loreline.client.feature_messages import pack_item, pack_user, unpack_item, unpack_user
from loreline.client.feature_types import (
    ItemBatch,
    ItemDescription,
    KnowledgePage,
    StoredSubject,
    UserDescription,
    UserFeatures,
    WatchBatch,
)
from loreline.client.features import AsyncFeaturesClient, FeaturesClient
from loreline.client.knowledge import AsyncKnowledgeClient, KnowledgeClient
from loreline.client.knowledge_calls import Answer, ElicitedFactors, Failure, Suspect
from loreline.client.messages import Record
from loreline.client.ranking import AsyncRankingClient, RankingClient
from loreline.client.ranking_calls import Explanation, Ranked, RankRequest, Recommended

__all__ = [
    "Answer",
    "AsyncEmbeddingClient",
    "AsyncFeaturesClient",
    "AsyncKnowledgeClient",
    "AsyncRankingClient",
    "ClientError",
    "ClientOptions",
    "DeadlineExceededError",
    "ElicitedFactors",
    "EmbeddingClient",
    "Encoded",
    "Explanation",
    "FailedPreconditionError",
    "Failure",
    "FeaturesClient",
    "InvalidArgumentError",
    "ItemBatch",
    "ItemDescription",
    "KnowledgeClient",
    "KnowledgePage",
    "NotFoundError",
    "OverloadedError",
    "RankRequest",
    "Ranked",
    "RankingClient",
    "Recommended",
    "Record",
    "ServiceUnavailableError",
    "StoredSubject",
    "Suspect",
    "UserDescription",
    "UserFeatures",
    "WatchBatch",
    "adapt_for_all",
    "is_serving",
    "pack_item",
    "pack_user",
    "unpack_item",
    "unpack_user",
]
