"""What the service counts, over SQLite and Redis."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from loreline.domain import PackedItem
from services.features.ledger_rows import new_user
from services.features.metrics import FeaturesMetrics
from services.features.ordering import ItemState
from services.features.sqlite_ledger import SqliteLedger
from tests.unit.features.conftest import Features
from tests.unit.features.feature_samples import film, stamp, vectors, watched


def value(features: Features, name: str, **labels: str) -> float | None:
    """A sample of `loreline_features_NAME` as Prometheus would read it."""
    return features.metrics.get_sample_value(f"loreline_features_{name}", labels)


def test_writes_are_counted_by_kind_and_outcome(features: Features) -> None:
    """Each write of a request by itself, and a request's time once."""
    features.client.put_contents([(stamp("e1"), film()), (stamp("e1"), film()), (stamp("e1"), film("m2"))])
    features.client.put_knowledge([(stamp("e1"), "m1", vectors())])
    features.client.append_interactions([watched("e1"), watched("e2"), watched("e2")])
    assert value(features, "writes_total", kind="content", outcome="applied") == 2
    assert value(features, "writes_total", kind="content", outcome="duplicate") == 1
    assert value(features, "writes_total", kind="knowledge", outcome="applied") == 1
    assert value(features, "writes_total", kind="interaction", outcome="applied") == 2
    assert value(features, "writes_total", kind="interaction", outcome="duplicate") == 1
    assert value(features, "write_seconds_count", method="PutItems") == 2
    assert value(features, "write_seconds_count", method="AppendInteractions") == 1


def test_reads_are_counted_by_whether_the_subject_was_there(features: Features) -> None:
    """A growing share of missing items says that a candidate source is ahead of the catalogue."""
    features.client.put_contents([(stamp("e1"), film())])
    features.client.items(["m1", "m2", "m3"])
    features.client.user("nobody")
    assert value(features, "reads_total", kind="item", found="yes") == 1
    assert value(features, "reads_total", kind="item", found="no") == 2
    assert value(features, "reads_total", kind="user", found="no") == 1


def test_stored_subjects_are_counted(features: Features) -> None:
    """As the ledger has them."""
    features.client.put_contents([(stamp(f"e{n}"), film(f"m{n}")) for n in range(3)])
    features.client.append_interactions([watched("e1"), watched("e2", user_id="u2")])
    assert (value(features, "items"), value(features, "users")) == (3, 2)


def test_a_watcher_is_counted_while_it_reads(features: Features) -> None:
    """Ranking's cache is one."""
    assert value(features, "watchers") == 0
    stream = features.client.watch()
    next(stream)
    assert value(features, "watchers") == 1
    stream.close()


def test_the_lag_is_what_the_slowest_watcher_has_not_been_sent(tmp_path: Path) -> None:
    """Items, not sequence numbers: users have some of those, and an item that changed twice has one state."""
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        metrics = FeaturesMetrics(ledger)
        ledger.put_items([ItemState(stamp("e"), "", None, PackedItem(i, "movies", [])) for i in ("a", "b", "a", "c")])
        ledger.put_users([new_user("u1")])
        with metrics.watching(4), metrics.watching(0) as slow:
            assert metrics.registry.get_sample_value("loreline_features_watch_lag_items") == 3
            slow.sequence = 3
            assert metrics.registry.get_sample_value("loreline_features_watch_lag_items") == 1
        assert metrics.registry.get_sample_value("loreline_features_watch_lag_items") == 0
