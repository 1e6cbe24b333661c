"""Requests that break a contract: for each method what it must be refused with, and which fields the details name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LONG_ID = "x" * 129
NOBODY = "nobody-of-this-name"
ITEM = {"item_id": "1", "scenario": "movies", "title": "Night Train"}
STAMP = {"event_id": "e", "event_time": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Refusal:
    """One request as protobuf's JSON, and its status. `fields` are exactly those that the violations name."""

    method: str
    request: dict[str, Any]
    fields: list[str] = field(default_factory=list)
    status: str = "INVALID_ARGUMENT"


def not_found(method: str, request: dict[str, Any]) -> Refusal:
    """What is named does not exist."""
    return Refusal(method, request, status="NOT_FOUND")


RANKING = [
    Refusal("Rank", {}, ["user_id", "scenario", "candidate_item_ids"]),
    Refusal("Rank", {"user_id": LONG_ID, "scenario": "movies", "candidate_item_ids": ["1"]}, ["user_id"]),
    Refusal("Rank", {"user_id": "1", "scenario": "opera", "candidate_item_ids": ["1"]}, status="FAILED_PRECONDITION"),
    Refusal("Rank", {"user_id": "1", "scenario": "x" * 129, "candidate_item_ids": ["1"]}, ["scenario"]),
    Refusal(
        "Rank",
        {"user_id": "1", "scenario": "movies", "candidate_item_ids": ["1", "", "2", "1"]},
        ["candidate_item_ids[1]", "candidate_item_ids[3]"],
    ),
    Refusal(
        "Rank",
        {"user_id": "1", "scenario": "movies", "candidate_item_ids": [str(n) for n in range(10_001)]},
        ["candidate_item_ids"],
    ),
    Refusal(
        "Rank",
        {"user_id": "1", "scenario": "movies", "candidate_item_ids": ["1"], "inline_items": [ITEM]},
        ["inline_items[0].item_id"],
    ),
    Refusal(
        "Rank",
        {"user_id": "1", "scenario": "movies", "candidate_item_ids": ["1"], "model_version": "999"},
        status="FAILED_PRECONDITION",
    ),
    Refusal("Explain", {}, ["user_id", "scenario", "item_id"]),
    not_found("Explain", {"user_id": "1", "scenario": "movies", "item_id": NOBODY}),
    Refusal("Recommend", {}, ["user_id", "scenario", "count"]),
    Refusal("Recommend", {"user_id": "1", "scenario": "movies", "count": 1001}, ["count"]),
    Refusal("Recommend", {"user_id": "1", "scenario": "movies", "count": 5, "candidates": 4}, ["candidates"]),
    Refusal(
        "Recommend",
        {"user_id": "1", "scenario": "movies", "count": 5, "filters": [{"field": "genre"}]},
        ["filters[0].values"],
    ),
]

FEATURES = [
    Refusal("GetItems", {}, ["item_ids"]),
    Refusal("GetItems", {"item_ids": ["1", "", LONG_ID]}, ["item_ids[1]", "item_ids[2]"]),
    Refusal("GetItems", {"item_ids": [str(n) for n in range(10_001)]}, ["item_ids"]),
    Refusal("GetUser", {}, ["user_id"]),
    Refusal("DescribeItem", {}, ["item_id"]),
    not_found("DescribeItem", {"item_id": NOBODY}),
    Refusal("DescribeUser", {}, ["user_id"]),
    Refusal("DescribeUser", {"user_id": "1", "most_entries": 513}, ["most_entries"]),
    not_found("DescribeUser", {"user_id": NOBODY}),
    Refusal("PutItems", {}, ["writes"]),
    Refusal("PutItems", {"writes": [{}]}, ["writes[0].event", "writes[0].write"]),
    Refusal(
        "PutItems",
        {"writes": [{"event": {"event_id": "e"}, "content": ITEM | {"scenario": "opera"}}]},
        ["writes[0].event.event_time", "writes[0].content.scenario"],
    ),
    Refusal(
        "PutItems",
        {"writes": [{"event": STAMP, "knowledge": {"item_id": "1", "vector": "AAA="}}]},
        ["writes[0].knowledge.knowledge.text", "writes[0].knowledge.encoder", "writes[0].knowledge.vector"],
    ),
    Refusal("PutUser", {}, ["user_id", "event", "write"]),
    Refusal("PutUser", {"user_id": "1", "event": STAMP, "history": {"item_ids": ["1"]}}, ["history"]),
    Refusal(
        "PutUser",
        {
            "user_id": "1",
            "event": STAMP,
            "history": {"item_ids": ["1", "2"], "ratings": [0, 0], "times": ["20", "10"]},
        },
        ["history.times"],
    ),
    Refusal("AppendInteractions", {}, ["interactions"]),
    Refusal(
        "AppendInteractions",
        {"interactions": [{"rating": "NaN"}]},
        [f"interactions[0].{name}" for name in ("event", "user_id", "item_id", "scenario", "rating")],
    ),
    Refusal(
        "PutAugmented",
        {"subject_ids": ["1"], "etags": ["e"], "model_version": "1", "dimension": 1, "vectors": [0.5]},
        ["subject"],
    ),
    Refusal("PutAugmented", {"subject": "SUBJECT_ITEM"}, ["subject_ids"]),
    Refusal("PutAugmented", {"subject": "SUBJECT_ITEM", "subject_ids": ["1", "1"]}, ["subject_ids"]),
    Refusal("PutAugmented", {"subject": "SUBJECT_ITEM", "subject_ids": ["1"]}, ["etags"]),
    Refusal("PutAugmented", {"subject": "SUBJECT_ITEM", "subject_ids": ["1"], "etags": ["e"]}, ["model_version"]),
    Refusal(
        "PutAugmented",
        {
            "subject": "SUBJECT_ITEM",
            "subject_ids": ["1"],
            "etags": ["e"],
            "model_version": "1",
            "dimension": 1,
            "vectors": ["NaN"],
        },
        ["vectors"],
    ),
    Refusal("ListSubjects", {}, ["subject"]),
    Refusal("ListSubjects", {"subject": "SUBJECT_ITEM", "scenario": "opera"}, ["scenario"]),
    Refusal("ListKnowledge", {}, ["subject"]),
]

EMBEDDING = [
    Refusal("Encode", {}, ["texts"]),
    Refusal("Encode", {"texts": ["fine", "", "x" * 16_385]}, ["texts[1]", "texts[2]"]),
    Refusal("Encode", {"texts": ["fine"] * 1_025}, ["texts"]),
    Refusal("Adapt", {}, ["subject"]),
    Refusal("Adapt", {"subject": "SUBJECT_ITEM"}, ["vectors"]),
    Refusal("Adapt", {"subject": "SUBJECT_ITEM", "dimension": 2, "vectors": [1, 2, 3]}, ["vectors"]),
    Refusal("Adapt", {"subject": "SUBJECT_ITEM", "dimension": 384, "vectors": [0.5] * 384}, ["encoder"]),
    Refusal("Adapt", {"subject": "SUBJECT_ITEM", "dimension": 3, "vectors": [1, 2, 3], "encoder": "e"}, ["dimension"]),
    Refusal(
        "Adapt", {"subject": "SUBJECT_USER", "dimension": 384, "vectors": ["NaN"] * 384, "encoder": "e"}, ["vectors"]
    ),
    not_found(
        "Adapt",
        {
            "subject": "SUBJECT_ITEM",
            "dimension": 384,
            "vectors": [0.5] * 384,
            "encoder": "e",
            "model_version": "999",
        },
    ),
]

KNOWLEDGE = [
    Refusal("GenerateItemKnowledge", {}, ["scenario"]),
    Refusal("GenerateItemKnowledge", {"scenario": "movies"}, ["items"]),
    Refusal(
        "GenerateItemKnowledge",
        {"scenario": "movies", "items": [ITEM, ITEM, ITEM | {"item_id": "2", "scenario": "books"}]},
        ["items[1].item_id", "items[2].scenario"],
    ),
    Refusal("GenerateItemKnowledge", {"scenario": "movies", "items": [ITEM], "provider": "oracle"}, ["provider"]),
    Refusal("GenerateUserKnowledge", {"scenario": "movies"}, ["users"]),
    Refusal("GenerateUserKnowledge", {"scenario": "movies", "users": [{"user_id": "1"}]}, ["users[0].entries"]),
    Refusal(
        "GenerateUserKnowledge",
        {"scenario": "movies", "users": [{"user_id": "1", "entries": [{"item": ITEM, "rating": 11}]}]},
        ["users[0].entries[0].rating"],
    ),
    Refusal("GenerateClusterKnowledge", {"scenario": "movies"}, ["clusters"]),
    Refusal(
        "GenerateClusterKnowledge",
        {"scenario": "movies", "clusters": [{"cluster_id": "1", "entries": [{"item": ITEM}]}]},
        ["clusters[0].kind"],
    ),
    Refusal("ElicitFactors", {}, ["scenario"]),
    Refusal("ElicitFactors", {"scenario": "opera", "about": "x" * 513}, ["about"]),
    Refusal("GetItemKnowledge", {}, ["item_id"]),
    not_found("GetItemKnowledge", {"item_id": NOBODY}),
    Refusal("GetUserKnowledge", {"user_id": LONG_ID}, ["user_id"]),
    not_found("GetUserKnowledge", {"user_id": NOBODY}),
    Refusal("RestoreKnowledge", {}, ["records"]),
    Refusal("ListSuspects", {"most": 1_001}, ["most"]),
    Refusal("ListSuspects", {"scenario": "opera"}, ["scenario"]),
]
REFUSALS = {"ranking": RANKING, "features": FEATURES, "embedding": EMBEDDING, "knowledge": KNOWLEDGE}
