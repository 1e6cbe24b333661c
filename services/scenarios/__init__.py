"""Scenarios (domains): one YAML each with fields, factors and prompt templates."""

from services.scenarios.scenario import InvalidScenario, Scenario, UnknownScenario, load_scenario, scenario_names

__all__ = ["InvalidScenario", "Scenario", "UnknownScenario", "load_scenario", "scenario_names"]
