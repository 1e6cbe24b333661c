"""The limits of loreline.ranking.v1: each check yields (field, what was expected) pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loreline.domain import Item, Violation, check_id, check_item
from loreline.domain.items import MAX_ID_BYTES
from services.ranking.queries import RankQuery, RecommendQuery, Viewer
from services.runtime.errors import InvalidRequest
from services.scenarios import scenario_names

MAX_CANDIDATES = 10_000
MAX_INLINE_ITEMS = 1_000
MAX_COUNT = 1_000
MAX_FILTERS, MAX_FILTER_VALUES = 16, 64
UTF8_BYTES = 4  # most bytes of one character


def check_rank(query: RankQuery) -> None:
    """Raises InvalidRequest with all that is wrong."""
    refuse([*check_viewer(query), *_check_candidates(query)])


def refuse(violations: list[Violation]) -> None:
    """Raises InvalidRequest when there is a violation."""
    if violations:
        raise InvalidRequest(violations)


def check_viewer(viewer: Viewer, *, configured: bool = False) -> Iterator[Violation]:
    """Yield what is wrong with user id and scenario, which must be `configured` for what needs stored items."""
    yield from check_id("user_id", viewer.user_id)
    if configured and viewer.scenario not in (names := scenario_names()):
        yield "scenario", f"must be one of: {', '.join(names)}"
    elif not configured:
        yield from check_id("scenario", viewer.scenario)


def check_recommend(query: RecommendQuery) -> None:
    """Raises InvalidRequest with all that is wrong."""
    refuse([*check_viewer(query, configured=True), *_check_counts(query), *_check_filters(query)])


def check_filter_fields(query: RecommendQuery, names: Sequence[str]) -> None:
    """Raises InvalidRequest when a filter is on a field that is not among `names`."""
    expected = f"must be one of: {', '.join(names)}"
    refuse([(f"filters[{n}].field", expected) for n, one in enumerate(query.filters) if one.field not in names])


def _check_counts(query: RecommendQuery) -> Iterator[Violation]:
    if not 1 <= query.count <= MAX_COUNT:
        yield "count", f"must be 1 to {MAX_COUNT}, not {query.count}"
    elif query.candidates and not query.count <= query.candidates <= MAX_CANDIDATES:
        yield "candidates", f"must be {query.count}, which is count, to {MAX_CANDIDATES}, or 0; not {query.candidates}"


def _check_filters(query: RecommendQuery) -> Iterator[Violation]:
    if len(query.filters) > MAX_FILTERS:
        yield "filters", f"must be at most {MAX_FILTERS}, not {len(query.filters)}"
        return
    for position, one in enumerate(query.filters):
        if not 1 <= len(one.values) <= MAX_FILTER_VALUES:
            yield f"filters[{position}].values", f"must hold 1 to {MAX_FILTER_VALUES} values, not {len(one.values)}"


def _check_candidates(query: RankQuery) -> Iterator[Violation]:
    ids, inline = query.candidate_item_ids, query.inline_items
    count = len(ids) + len(inline)
    if not 1 <= count <= MAX_CANDIDATES:
        yield "candidate_item_ids", f"must hold 1 to {MAX_CANDIDATES} ids, inline items counted, not {count}"
        return
    yield from _check_ids(ids)
    if inline:
        yield from _check_inline(inline, set(ids), query.scenario)


def _check_ids(ids: Sequence[str]) -> Iterator[Violation]:
    if ids and not _plainly_valid(ids):
        for position, item_id in enumerate(ids):
            yield from check_id(f"candidate_item_ids[{position}]", item_id)
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        position = next(i for i, item_id in enumerate(ids) if item_id in seen or seen.add(item_id))  # type: ignore[func-returns-value]
        yield f"candidate_item_ids[{position}]", "must not repeat an id that stands before it"


def _check_inline(items: Sequence[Item], ids: set[str], scenario: str) -> Iterator[Violation]:
    if len(items) > MAX_INLINE_ITEMS:
        yield "inline_items", f"must hold at most {MAX_INLINE_ITEMS} items, not {len(items)}"
        return
    for position, item in enumerate(items):
        path = f"inline_items[{position}]"
        yield from check_item(item, path)
        if item.scenario and item.scenario != scenario:
            yield f"{path}.scenario", f"must be the request's, {scenario!r}, not {item.scenario!r}"
        if item.item_id in ids:
            yield f"{path}.item_id", "must not stand elsewhere in the request"
        ids.add(item.item_id)


def _plainly_valid(ids: Sequence[str]) -> bool:
    """Whether a glance at all ids together shows that check_id passes: it costs 1/20 of asking for each."""
    lengths = [len(item_id) for item_id in ids]
    return min(lengths) > 0 and max(lengths) <= MAX_ID_BYTES // UTF8_BYTES and "".join(ids).isprintable()
