"""`loreline topics ...`: the platform's topics as they are set, and as the broker has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer
from kafka.admin import ConfigResource

from services.cli import output
from services.cli.broker import administering, broker_errors
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings
from services.runtime.kafka_clients import KafkaAdminClient
from services.updater.topics import COMPACTED, Topic, TopicNames, create_missing_topics, streaming_topics

topics_app = typer.Typer(help="Create the platform's topics, and look at them.", no_args_is_help=True)
PURPOSES = {  # in the order of TopicNames
    "items": "events of items",
    "interactions": "events of users",
    "enriched": "news of stored knowledge",
    "knowledge": "every answer, newest by subject",
    "dead_letter": "records given up",
    "dead_letter_resolutions": "what became of dead letters",
}


@dataclass(frozen=True)
class TopicState:
    """One topic as it was set and as it is. `partitions` 0: it is missing; empty `cleanup`: the broker does not say."""

    topic: str
    purpose: str
    state: str  # missing, created or there
    partitions: int
    replicas: int
    cleanup: str
    warning: str


@topics_app.command("create")
def create(json_output: JsonOption = False) -> None:
    """Create the topics that are missing, with names, partitions and replicas as LORELINE_CLI_... sets them.

    A topic that is there stays as it is: one that differs from what is set is reported, and nothing more.
    """
    with exit_codes():
        settings = CliSettings()
        servers, topics = LocalProcesses(settings).address("broker"), platform_topics(settings)
        with broker_errors(servers):
            created = create_missing_topics(servers, list(topics.values()))
        _show("Topics", states(servers, topics, created), json_output)


@topics_app.command("list")
def list_topics(json_output: JsonOption = False) -> None:
    """Show the platform's topics as the broker has them; changes nothing."""
    with exit_codes():
        settings = CliSettings()
        found = states(LocalProcesses(settings).address("broker"), platform_topics(settings))
        _show("Topics", found, json_output)
        if not json_output and any(topic.state == "missing" for topic in found):
            output.console.print("next: `loreline topics create`")


def platform_topics(settings: CliSettings) -> dict[str, Topic]:
    """The topics as the settings name them, by their setting's name without `_topic`. Raises BadInput."""
    names = [getattr(settings, f"{kind}_topic") for kind in PURPOSES]
    shared = [name for name, count in Counter(names).items() if count > 1]
    if shared:
        variables = [f"LORELINE_CLI_{k.upper()}_TOPIC" for k, n in zip(PURPOSES, names, strict=True) if n == shared[0]]
        raise BadInput(f"{' and '.join(variables)}: must differ, both are {shared[0]!r}")
    flowing = streaming_topics(
        TopicNames(*names[:5]), settings.topic_partitions, settings.interactions_partitions, settings.topic_replication
    )
    return dict(zip(PURPOSES, [*flowing, resolutions_topic(settings)], strict=True))


def resolutions_topic(settings: CliSettings) -> Topic:
    """The topic of what became of dead letters, which only this command writes and reads."""
    return Topic(
        settings.dead_letter_resolutions_topic, settings.topic_partitions, settings.topic_replication, COMPACTED
    )


def states(bootstrap_servers: str, topics: Mapping[str, Topic], created: Sequence[str] = ()) -> list[TopicState]:
    """Each topic as the broker has it; those in `created` were made just now. Raises NotReady."""
    names = [topic.name for topic in topics.values()]
    with administering(bootstrap_servers) as admin:
        found = {topic["name"]: topic["partitions"] for topic in admin.describe_topics(names) if topic["partitions"]}
        policies = _cleanup_policies(admin, list(found))
    return [
        _state(PURPOSES[name], topic, found.get(topic.name, []), policies.get(topic.name, ""), topic.name in created)
        for name, topic in topics.items()
    ]


def _state(
    purpose: str, topic: Topic, partitions: Sequence[Mapping[str, Sequence[int]]], cleanup: str, created: bool
) -> TopicState:
    there, replicas = len(partitions), min((len(partition["replica_nodes"]) for partition in partitions), default=0)
    wanted = topic.configs.get("cleanup.policy", "")
    warning = ""
    if 0 < there < topic.partitions:
        warning = f"fewer partitions than the {topic.partitions} that are set"
    elif cleanup and wanted not in cleanup:
        warning = "must be compacted, or records older than the retention are lost: set cleanup.policy=compact"
    state = "created" if created else "there" if partitions else "missing"
    return TopicState(topic.name, purpose, state, there, replicas, cleanup, warning)


def _cleanup_policies(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, str]:
    """The policy of each topic of which the broker tells it; Tansu tells only what was set."""
    if not names:
        return {}
    told = admin.describe_configs([ConfigResource("topic", name) for name in names], config_filter="all")
    policies = {name: configs.get("cleanup.policy", {}) for name, configs in told["topic"].items()}
    return {name: policy["value"] for name, policy in policies.items() if policy}


def _show(title: str, found: Sequence[TopicState], json_output: bool) -> None:
    if json_output:
        output.print_json(found)
        return
    rows = [(t.topic, t.purpose, t.state, t.partitions or None, t.replicas or None, t.cleanup or "-") for t in found]
    output.print_table(title, ["topic", "holds", "state", "partitions", "replicas", "cleanup"], rows)
    for topic in found:
        if topic.warning:
            output.console.print(f"{topic.topic}: {topic.warning}", style="yellow", highlight=False)
