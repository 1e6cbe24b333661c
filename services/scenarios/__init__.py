"""Scenarios (domains): one YAML each with fields, factors and prompt templates; and the plain types they speak of."""

from services.scenarios.items import Cluster, HistoryEntry, Item, Knowledge, Provenance, UserHistory
from services.scenarios.scenario import InvalidScenario, Scenario, UnknownScenario, load_scenario, scenario_names

__all__ = [
    "Cluster",
    "HistoryEntry",
    "InvalidScenario",
    "Item",
    "Knowledge",
    "Provenance",
    "Scenario",
    "UnknownScenario",
    "UserHistory",
    "load_scenario",
    "scenario_names",
]
