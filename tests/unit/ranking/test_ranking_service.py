"""Rules of Rank, over real gRPC with real scorers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from catalogue import ITEMS, ITEMS_BY_ID, USER, VECTOR, assert_ranked, best_first
from memory_features import MemoryFeatures, item
from model_versions import bind, register_version
from ranking_parts import Ranking

from loreline.client import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    RankingClient,
    ServiceUnavailableError,
    is_serving,
)
from loreline.domain import PackedItem, PackedUser
from services.model_registry import ModelRegistry
from tests.processes import running
from tests.waiting import wait_until


def test_scores_are_the_models_and_best_come_first(stocked: Ranking, store: MemoryFeatures) -> None:
    """Every input reaches the scorer as its contract says: item, fields, knowledge, history and user."""
    candidates = list(ITEMS_BY_ID)
    ranked = stocked.client.rank("ann", "movies", candidates)
    assert_ranked(ranked, best_first(candidates, USER))
    assert ranked.model_version == "1"
    assert ranked.user_route == "KNOWN"
    assert ranked.unknown_item_ids == []
    assert store.reads == []  # all came from the cache
    known = dict(zip(ranked.item_ids, ranked.knowledge_used, strict=True))
    assert known == {"i0": True, "i1": False, "i2": True, "i3": False, "i4": False, "new": True}


def test_the_response_names_itself_and_says_where_time_went(stocked: Ranking) -> None:
    """Attribution ids differ from call to call; stages add up to at most the total."""
    first, second = (stocked.client.rank("ann", "movies", ["i0"]) for _ in range(2))
    assert len({first.attribution_id, second.attribution_id}) == 2
    assert set(first.timings_ms) == {"user_read", "item_read", "score", "total"}
    stages = sum(ms for stage, ms in first.timings_ms.items() if stage != "total")
    assert 0 < stages <= first.timings_ms["total"]


def test_knowledge_can_be_switched_off(stocked: Ranking) -> None:
    """Without knowledge neither the items' nor the user's augmented vector takes part, and the response says so."""
    candidates = list(ITEMS_BY_ID)
    ranked = stocked.client.rank("ann", "movies", candidates, use_knowledge=False)
    assert_ranked(ranked, best_first(candidates, USER, knowledge=False))
    assert not any(ranked.knowledge_used)


def test_interactions_after_the_request_time_are_left_out(stocked: Ranking) -> None:
    """The history ends at the request's moment, that second included."""
    moment = datetime.fromtimestamp(40, UTC)
    ranked = stocked.client.rank("ann", "movies", ["i0", "i1", "i2"], request_time=moment)
    assert_ranked(ranked, best_first(["i0", "i1", "i2"], USER, latest=40))
    before = stocked.client.rank("ann", "movies", ["i0"], request_time=datetime.fromtimestamp(5, UTC))
    assert before.user_route == "COLD_START"


def test_an_unknown_user_is_ranked_by_the_cold_start_route(stocked: Ranking) -> None:
    """Nothing of a user is needed to get a list."""
    candidates = list(ITEMS_BY_ID)
    ranked = stocked.client.rank("nobody", "movies", candidates)
    assert ranked.user_route == "COLD_START"
    assert_ranked(ranked, best_first(candidates, PackedUser("nobody")))


def test_unknown_candidates_are_reported_in_their_order(stocked: Ranking) -> None:
    """Known ones are ranked all the same."""
    ranked = stocked.client.rank("ann", "movies", ["no2", "i0", "no1", "i1"])
    assert ranked.unknown_item_ids == ["no2", "no1"]
    assert_ranked(ranked, best_first(["i0", "i1"], USER))


def test_only_unknown_candidates_give_an_empty_list(stocked: Ranking) -> None:
    """That is an answer, not an error."""
    ranked = stocked.client.rank("ann", "movies", ["no1", "no2"])
    assert ranked.item_ids == []
    assert ranked.unknown_item_ids == ["no1", "no2"]
    assert ranked.model_version == "1"


def test_candidates_of_another_scenario_are_unknown(stocked: Ranking, store: MemoryFeatures) -> None:
    """An item's fields mean nothing to another scenario's model."""
    store.put(PackedItem("book", "books", ["Novel"]))
    stocked.holds(len(ITEMS) + 1)
    ranked = stocked.client.rank("ann", "movies", ["i0", "book"])
    assert (ranked.item_ids, ranked.unknown_item_ids) == (["i0"], ["book"])


def test_items_that_the_cache_lacks_are_read_in_one_call(stocked: Ranking, store: MemoryFeatures) -> None:
    """An item is rankable from the moment it is stored, even if the news of it is late."""
    late = [item("i7", "Horror", "1980", v1=VECTOR), item("i8", "Musical", "1990")]
    store.put_silently(*late)
    ITEMS_BY_ID.update({stored.item_id: stored for stored in late})
    candidates = ["i7", "i0", "no", "i8"]
    ranked = stocked.client.rank("ann", "movies", candidates)
    assert store.reads == [["i7", "no", "i8"]]
    assert ranked.unknown_item_ids == ["no"]
    assert_ranked(ranked, best_first(["i7", "i0", "i8"], USER))
    for stored in late:
        del ITEMS_BY_ID[stored.item_id]


def test_equal_scores_keep_the_requests_order_and_top_k_cuts(stocked: Ranking, store: MemoryFeatures) -> None:
    """Items that look alike to the model come as they were asked for."""
    twins = [f"twin{number}" for number in range(20)]
    store.put(*[item(twin) for twin in twins])
    stocked.holds(len(ITEMS) + 20)
    assert stocked.client.rank("ann", "movies", twins).item_ids == twins
    assert stocked.client.rank("ann", "movies", twins[::-1], top_k=3).item_ids == twins[:-4:-1]
    assert len(stocked.client.rank("ann", "movies", twins, top_k=999).item_ids) == 20


@pytest.mark.parametrize(
    ("user", "scenario", "candidates", "field"),
    [
        ("", "movies", ["i0"], "user_id"),
        ("u" * 129, "movies", ["i0"], "user_id"),
        ("a\nb", "movies", ["i0"], "user_id"),
        ("ann", "", ["i0"], "scenario"),
        ("ann", "o" * 129, ["i0"], "scenario"),
        ("ann", "movies", [], "candidate_item_ids"),
        ("ann", "movies", [f"i{n}" for n in range(10_001)], "candidate_item_ids"),
        ("ann", "movies", ["i0", "i1", "i0"], "candidate_item_ids[2]"),
        ("ann", "movies", ["i0", ""], "candidate_item_ids[1]"),
        ("ann", "movies", ["i0", "é" * 65], "candidate_item_ids[1]"),
        ("ann", "movies", ["i0\x00"], "candidate_item_ids[0]"),
    ],
)
def test_bad_requests_are_refused_by_field(
    stocked: Ranking, user: str, scenario: str, candidates: list[str], field: str
) -> None:
    """Each broken limit is named."""
    with pytest.raises(InvalidArgumentError) as refused:
        stocked.client.rank(user, scenario, candidates)
    assert [name for name, _ in refused.value.violations] == [field]


def test_a_scenario_that_nobody_configured_needs_a_general_network(stocked: Ranking) -> None:
    """The error lists the configured scenarios, and says what to promote."""
    with pytest.raises(FailedPreconditionError, match="are: add its file, or promote a version of kind unictr"):
        stocked.client.rank("ann", "opera", ["i0"])


def test_the_largest_request_is_ranked(stocked: Ranking) -> None:
    """10,000 candidates, ids of 128 bytes among them, are within the limits."""
    candidates = [*ITEMS_BY_ID, "é" * 64, *[f"no{n}" for n in range(10_000 - len(ITEMS) - 1)]]
    ranked = stocked.client.rank("ann", "movies", candidates)
    assert_ranked(ranked, best_first(list(ITEMS_BY_ID), USER))
    assert len(ranked.unknown_item_ids) == 10_000 - len(ITEMS)


def test_before_any_promotion_the_caller_is_told_what_to_do(unpromoted: Ranking) -> None:
    """Ranking is not ready then, and says which command helps."""
    assert not is_serving(unpromoted.client.address)
    assert is_serving(unpromoted.client.address, "liveness")
    with pytest.raises(FailedPreconditionError, match="loreline models promote"):
        unpromoted.client.rank("ann", "movies", ["i0"])


def test_a_model_of_another_scenario_does_not_rank(
    stocked: Ranking, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configured scenario without a model version of its own is said so."""
    (tmp_path / "books.yaml").write_text("name: books")
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(tmp_path))
    with pytest.raises(FailedPreconditionError, match="books"):
        stocked.client.rank("ann", "books", ["i0"])


def test_a_promotion_and_a_rollback_are_followed(
    stocked: Ranking, registry: ModelRegistry, store: MemoryFeatures
) -> None:
    """Each version scores with its own augmented vectors only, without a new read of the catalogue."""
    candidates = list(ITEMS_BY_ID)
    for version in (register_version(registry), "1"):
        registry.promote(version)
        wait_until(lambda wanted=version: stocked.active.current().manifest.version == wanted)
        ranked = stocked.client.rank("ann", "movies", candidates)
        assert ranked.model_version == version
        assert_ranked(ranked, best_first(candidates, USER, int(version), version=version))
    assert store.watched_from == [0]


def test_requests_never_mix_two_versions(stocked: Ranking, registry: ModelRegistry) -> None:
    """While the pointer flips, every list is the one version's or the other's, whole."""
    register_version(registry)
    candidates = list(ITEMS_BY_ID)
    whole = {version: best_first(candidates, USER, int(version), version=version) for version in ("1", "2")}
    seen = set()
    for turn in range(40):
        if turn % 4 == 0:
            registry.promote("2" if turn % 8 == 0 else "1")
        ranked = stocked.client.rank("ann", "movies", candidates)
        assert_ranked(ranked, whole[ranked.model_version])
        seen.add(ranked.model_version)
        time.sleep(0.01)
    assert seen == {"1", "2"}


def test_a_scorer_that_is_not_the_registered_file_is_not_loaded(stocked: Ranking, registry: ModelRegistry) -> None:
    """One of another version would load and score; the version before goes on."""
    swapped = register_version(registry)
    bind(registry, swapped)
    shutil.copy(registry.folder("1") / "scorer.onnx", registry.folder(swapped) / "scorer.onnx")
    registry.promote(swapped)
    wait_until(lambda: stocked.active.failing() == [swapped])
    assert stocked.client.rank("ann", "movies", ["i0"]).model_version == "1"


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(stocked: Ranking, registry: ModelRegistry) -> None:
    """Requests go on, and the version is taken once it is whole."""
    broken = register_version(registry)
    scorer = registry.folder(broken) / "scorer.onnx"
    whole = scorer.read_bytes()
    scorer.write_bytes(whole[:100])
    registry.promote(broken)
    wait_until(lambda: stocked.active.failing() == [broken])
    assert stocked.client.rank("ann", "movies", ["i0"]).model_version == "1"
    scorer.write_bytes(whole)
    wait_until(lambda: stocked.active.current().manifest.version == broken)
    assert stocked.client.rank("ann", "movies", ["i0"]).model_version == broken


def test_a_features_service_that_is_gone_is_named(stocked: Ranking, features_client: object) -> None:
    """The caller may retry: ranking's own state is fine."""
    features_client.close()
    features_client.__init__("127.0.0.1:1", timeout_seconds=0.3)
    with pytest.raises(ServiceUnavailableError, match="features does not answer") as failed:
        stocked.client.rank("ann", "movies", ["i0"])
    assert failed.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_callers_nearer_deadline_is_passed_on(stocked: Ranking, store: MemoryFeatures) -> None:
    """No turn is held longer than its caller waits, and it is the caller's time that was short, not features."""
    store.hangs = True
    with pytest.raises(DeadlineExceededError):
        stocked.client.with_timeout(0.3).rank("ann", "movies", ["i0"])
    wait_until(lambda: stocked.metric("loreline_ranking_requests_total", outcome="deadline_exceeded") == 1)
    assert stocked.metric("loreline_ranking_requests_total", outcome="unavailable") == 0


def test_a_large_read_goes_in_pages(stocked: Ranking, store: MemoryFeatures) -> None:
    """Others have their turn at the store in between, and each page has a time-out of its own."""
    ids = [f"no{number}" for number in range(2_500)]
    assert stocked.client.rank("ann", "movies", ids).unknown_item_ids == ids
    assert store.reads == [ids[:1_000], ids[1_000:2_000], ids[2_000:]]


def test_missing_settings_stop_the_process_at_start() -> None:
    """Exit code 2 and the names of the variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORELINE_")}
    done = subprocess.run([sys.executable, "-m", "services.ranking"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    for name in ("LISTEN_ADDRESS", "FEATURES_ADDRESS", "MODEL_REGISTRY"):
        assert f"LORELINE_RANKING_{name}" in done.stderr


def test_the_process_becomes_ready_ranks_and_ends(
    store: MemoryFeatures, features_address: str, registry: ModelRegistry, unused_address: str
) -> None:
    """The real process: not ready before a promotion, ready after it, exit code 0 on SIGTERM."""
    store.put(*ITEMS)
    environment = os.environ | {
        "LORELINE_RANKING_LISTEN_ADDRESS": unused_address,
        "LORELINE_RANKING_FEATURES_ADDRESS": features_address,
        "LORELINE_RANKING_MODEL_REGISTRY": str(registry.root),
    }
    with running([sys.executable, "-m", "services.ranking"], env=environment) as process:
        wait_until(lambda: is_serving(unused_address, "dependency/items"))
        assert not is_serving(unused_address)
        register_version(registry, promote=True)
        wait_until(lambda: is_serving(unused_address, "dependency/model"))
        with RankingClient(unused_address) as client:
            assert_ranked(client.rank("x", "movies", ["i0", "i1"]), best_first(["i0", "i1"], PackedUser("x")))
        process.terminate()
        assert process.wait(100) == 0
