"""Opens a version's scorer as the settings say: in this process, or in one or several Triton servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from services.model_registry import Manifest
from services.model_registry.unictr_files import networks_of
from services.ranking.scorers import Scorer
from services.ranking.scorers.balanced import BalancedScorer
from services.ranking.scorers.fallback import FallbackScorer
from services.ranking.scorers.in_process import InProcessScorer, open_networks
from services.ranking.scorers.joined import JoinedScorer
from services.ranking.scorers.shared_memory import Regions
from services.ranking.scorers.triton import TritonModel, TritonScorer, network_model, scorer_model
from services.runtime.backoff import Backoff


@dataclass(frozen=True)
class ScorerOptions:
    """`addresses`: Triton's gRPC endpoints; none of them scores in this process with `threads`.

    `language_model_threads` and `language_model_timeout_seconds` are for versions that score texts. `fallback`: score
    in this process when none answers. `join_seconds` 0 joins no requests.
    """

    addresses: tuple[str, ...] = ()
    timeout_seconds: float = 1.0
    language_model_timeout_seconds: float = 10.0
    threads: int = 1
    language_model_threads: int = 1
    fallback: bool = False
    join_seconds: float = 0.0
    shared_memory: bool = False
    backoff: Backoff = Backoff(0.1, 5.0)


class ScorerOpener:
    """Holds what the scorers of all versions share: connections, and shared memory."""

    def __init__(self, options: ScorerOptions) -> None:
        self._options = options
        self._clients = {address: triton.InferenceServerClient(address) for address in options.addresses}
        self._regions = {a: Regions(client) for a, client in self._clients.items()} if options.shared_memory else {}

    def open(self, manifest: Manifest, folder: Path) -> Scorer:
        """The scorer of a version of kind kar or unictr-student whose files are in a folder."""
        options = self._options
        if not self._clients:
            return self._in_process(folder)
        scorer = self._balanced(scorer_model(manifest.version, manifest.kind), options.timeout_seconds)
        if options.join_seconds:
            scorer = JoinedScorer(scorer, options.join_seconds)
        return FallbackScorer(scorer, self._in_process(folder)) if options.fallback else scorer

    def open_networks(self, manifest: Manifest, folder: Path) -> Mapping[str, Scorer]:
        """The scorers of a version of kind unictr, by the names of its networks."""
        options, names = self._options, networks_of(manifest)
        if not self._clients:
            return open_networks(folder, names, options.language_model_threads)
        far = {
            name: self._balanced(network_model(manifest.version, name), options.language_model_timeout_seconds)
            for name in names
        }
        if not options.fallback:
            return far
        near = open_networks(folder, names, options.language_model_threads)
        return {name: FallbackScorer(far[name], near[name]) for name in names}

    def answers(self) -> bool:
        """Whether any server is ready."""
        return any(_is_ready(client, self._options.timeout_seconds) for client in self._clients.values())

    def close(self) -> None:
        """Give up shared memory, and close the connections."""
        for regions in self._regions.values():
            regions.close()
        for client in self._clients.values():
            client.close()

    def _balanced(self, model: TritonModel, timeout_seconds: float) -> Scorer:
        scorers = {
            address: TritonScorer(client, model, timeout_seconds, self._regions.get(address))
            for address, client in self._clients.items()
        }
        return BalancedScorer(scorers, self._options.backoff)

    def _in_process(self, folder: Path) -> InProcessScorer:
        return InProcessScorer(folder / "scorer.onnx", self._options.threads)


def _is_ready(client: triton.InferenceServerClient, timeout_seconds: float) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=timeout_seconds))
    except InferenceServerException:
        return False
