"""`loreline models ...`"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.cli.output import BadInput, JsonOption, exit_codes
from services.cli.settings import CliSettings
from services.model_registry import SCORER_KINDS, Kind, Manifest, ModelRegistry, NoSuchVersion, ScorerKind, Traffic
from services.model_registry.rerankers import RerankerRegistry

if TYPE_CHECKING:
    from services.cli.models.comparison import Comparison


class ExportedScorer(StrEnum):
    """Kinds of version, as options take them."""

    KAR = "kar"
    UNICTR = "unictr"
    STUDENT = "unictr-student"

    def name_of(self) -> ScorerKind:
        """The kind as the registry names it."""
        return SCORER_KINDS[list(ExportedScorer).index(self)]


KindOption = Annotated[ExportedScorer, typer.Option("--kind", help="Of which kind of version.")]
models_app = typer.Typer(help="List, promote, try and roll back model versions.", no_args_is_help=True)


@models_app.command("list")
def list_models(json_output: JsonOption = False) -> None:
    """List the registered versions with their test metrics, and what each one does now."""
    with exit_codes():
        registry = ModelRegistry(CliSettings().model_registry)
        traffic, manifests = registry.traffic_by_kind(), registry.versions()
        if json_output:
            versions = [manifest.model_dump(mode="json") for manifest in manifests]
            rerankers = [manifest.model_dump(mode="json") for manifest in RerankerRegistry(registry.root).rerankers()]
            kinds = {kind: one.model_dump(mode="json") for kind, one in traffic.items()}
            output.print_json({**kinds["kar"], "kinds": kinds, "versions": versions, "rerankers": rerankers})
            return
        every = {name for manifest in manifests for name in manifest.metrics}
        names = sorted(name for name in every if " " not in name)  # not each scenario's own: --json has them
        rows = [
            (_role(m.version, traffic[m.kind]), m.version, m.kind, ", ".join(m.trained_scenarios), m.backbone,
             *[m.metrics.get(name) for name in names], f"{m.created_time:%Y-%m-%d %H:%M} UTC")
            for m in manifests
        ]  # fmt: skip
        if experiment := traffic["kar"].knowledge_off:
            output.console.print(f"{experiment.share:.1%} of the active version's users: without knowledge")
        columns = ["role", "version", "kind", "scenarios", "backbone", *names, "created"]
        output.print_table("Model versions", columns, rows)
        _list_rerankers(RerankerRegistry(registry.root))


@models_app.command("promote")
def promote(
    version: Annotated[str, typer.Argument(help="The version to make active.")],
    canary: Annotated[str, typer.Option(help="Let it rank only a share of the users, such as 5%.")] = "",
    shadow: Annotated[str, typer.Option(help="Let it score a share of the users' requests unseen, such as 5%.")] = "",
) -> None:
    """Verify a version, adapt every stored vector for it, then make it the active one, or try it beside that one."""
    with exit_codes():
        if not (canary or shadow):
            adapted = promote_version(CliSettings(), version)
            told = _told(ModelRegistry(CliSettings().model_registry).manifest(version), adapted)
            output.console.print(f"version {version} is active; {told}", soft_wrap=True)
        asked: dict[Kind, str] = {"canary": canary, "shadow": shadow}
        shares = {kind: share_of(f"--{kind}", text) for kind, text in asked.items() if text}
        for kind, share in shares.items():
            _try_beside(version, kind, share)


@models_app.command("rerank")
def rerank(
    number: Annotated[str, typer.Argument(help="The re-ranker that puts lists in order.")] = "",
    stop: Annotated[bool, typer.Option("--stop", help="Leave lists as the model version scores them.")] = False,
) -> None:
    """Let a re-ranker put the first places of lists in order, or none. Ranking follows within a second."""
    with exit_codes():
        if stop == bool(number):
            raise BadInput("give the number of a re-ranker, or --stop")
        registry, active = _reranker_registry(), ModelRegistry(CliSettings().model_registry).active()
        try:
            bound = registry.manifest(number).base_version if number else ""
            registry.promote(number or None)
        except NoSuchVersion as error:
            raise BadInput(f"{error}: train one with `loreline train --config prm`") from error
        output.console.print(f"re-ranker {number} puts lists in order" if number else "no re-ranker is applied")
        if number and bound != active:
            note = f"it is bound to model version {bound}, and is applied when that one ranks; now {active} does"
            output.console.print(note, style="yellow")


def _reranker_registry() -> RerankerRegistry:
    return RerankerRegistry(CliSettings().model_registry)


def _active(active: bool) -> str:
    return "active" if active else ""


def _list_rerankers(registry: RerankerRegistry) -> None:
    manifests, active = registry.rerankers(), registry.active()
    if not manifests:
        return
    names = sorted({name for manifest in manifests for name in manifest.metrics})
    rows = [
        (_active(m.number == active), m.number, m.reranker, m.base_version, *[m.metrics.get(name) for name in names])
        for m in manifests
    ]
    output.print_table("Re-rankers", ["role", "number", "re-ranker", "of version", *names], rows)


@models_app.command("rollback")
def rollback(kind: KindOption = ExportedScorer.KAR) -> None:
    """Bring back the version that was active before."""
    from services.cli.models.promoting import open_promoter

    with exit_codes():
        if ModelRegistry(CliSettings().model_registry).previous(kind.name_of()) is None:
            raise BadInput(f"there is no earlier version of kind {kind.value} to roll back to")
        with open_promoter(CliSettings()) as promoter:
            version = promoter.rollback(kind.name_of())
        output.console.print(f"version {version} is active again")


@models_app.command("canary")
def canary(
    stop: Annotated[bool, typer.Option("--stop", help="Give its users back to the active version.")] = False,
    kind: KindOption = ExportedScorer.KAR,
) -> None:
    """Show the canary, or end it."""
    _show_or_stop("canary", stop, kind.name_of())


@models_app.command("shadow")
def shadow(
    stop: Annotated[bool, typer.Option("--stop", help="Let it score no more requests.")] = False,
    kind: KindOption = ExportedScorer.KAR,
) -> None:
    """Show the shadow, or end it."""
    _show_or_stop("shadow", stop, kind.name_of())


@models_app.command("experiment")
def experiment(
    knowledge_off: Annotated[str, typer.Option(help="Rank this share of the users without knowledge; 0% ends it.")],
) -> None:
    """Split the active version's users into those ranked with knowledge and those ranked without."""
    with exit_codes():
        share = share_of("--knowledge-off", knowledge_off, lowest=0.0)
        registry = ModelRegistry(CliSettings().model_registry)
        if registry.active() is None:
            raise BadInput("no version is active yet: promote one first")
        registry.direct(registry.traffic().with_knowledge_off(share))
        output.console.print(
            f"{share:.1%} of the users are ranked without knowledge" if share else "the experiment ended"
        )


@models_app.command("compare")
def compare_models(json_output: JsonOption = False) -> None:
    """Tell how canary, shadow and experiment do beside the active version: agreement, score drift, latency."""
    from services.cli.models.comparison import compare, read_metrics

    with exit_codes():
        addresses = [address for address in CliSettings().ranking_metrics_address.split(",") if address]
        if not addresses:
            raise BadInput(
                "LORELINE_CLI_RANKING_METRICS_ADDRESS: must name where ranking serves its metrics, host:port"
            )
        found = compare(read_metrics(addresses))
        if json_output:
            output.print_json(found)
            return
        _print_comparison(found)


def promote_version(settings: CliSettings, version: str) -> int:
    """Promote with a progress bar; returns how many vectors were adapted. Raises BadInput, NotReady, ClientError."""
    from services.cli.models.promoting import open_promoter

    with open_promoter(settings) as promoter:
        return promoter.promote(version)


def _told(manifest: Manifest, adapted: int) -> str:
    """What was made ready for a version."""
    if manifest.has_adaptor:
        return f"{adapted} stored vectors were adapted for it"
    return f"it reads texts, with networks for {', '.join(manifest.scenarios) or 'no scenario'} and a general one"


def _role(version: str, traffic: Traffic) -> str:
    """What a version does now, such as `active` or `canary 5.0%`."""
    beside = [
        f"{kind} {running.share:.1%}"
        for kind, running in (("canary", traffic.canary), ("shadow", traffic.shadow))
        if running and running.version == version
    ]
    return ", ".join((["active"] if version == traffic.active else []) + beside)


def share_of(option: str, text: str, lowest: float = 1e-6) -> float:
    """A share of 0 to 1 of text such as `5%` or `0.05`. Raises BadInput."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not lowest <= share <= 1:
        raise BadInput(f"{option}: must be a share of the users such as 5% or 0.05, at most 100%, is {text!r}")
    return share


def _try_beside(version: str, kind: Kind, share: float) -> None:
    from services.cli.models.promoting import open_promoter

    with open_promoter(CliSettings()) as promoter:
        adapted = promoter.try_beside(version, kind, share)
    told = "ranks" if kind == "canary" else "scores unseen for"
    prepared = _told(ModelRegistry(CliSettings().model_registry).manifest(version), adapted)
    output.console.print(
        f"version {version} is the {kind}: it {told} {share:.1%} of the users; {prepared}; `loreline models compare` "
        "tells how it does",
        soft_wrap=True,
    )


def _show_or_stop(kind: Kind, stop: bool, scorer: ScorerKind) -> None:
    with exit_codes():
        registry = ModelRegistry(CliSettings().model_registry)
        traffic = registry.traffic(scorer)
        running = getattr(traffic, kind)
        if running is None:
            raise BadInput(
                f"there is no {kind} of kind {scorer}: `loreline models promote VERSION --{kind} 5%` begins one"
            )
        if stop:
            registry.direct(traffic.model_copy(update={kind: None}), scorer)
        told = "was" if stop else "is"
        output.console.print(f"version {running.version} {told} the {kind} for {running.share:.1%} of the users")


def _print_comparison(found: Comparison) -> None:
    columns = ["assignment", "version", "lists", "mean score", "p50 ms", "p99 ms", "against", "drift", "difference"]
    groups = [list(vars(group).values()) for group in found.groups]
    output.print_table("Lists since ranking started", columns, groups)
    shadow = vars(found.shadow)
    if found.shadow.compared or found.shadow.dropped or found.shadow.failed:
        output.print_table("The shadow on the same requests", list(shadow), [list(shadow.values())])
