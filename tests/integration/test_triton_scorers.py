"""Balancing, shared memory, fallback and promotion with real Triton servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from deploy.triton.render import render
from services.cli.models.promoting import load
from services.cli.output import NotReady
from services.model_registry import GoldenSet, ModelRegistry, VersionRefused, verify_scorer
from services.ranking.scorers import Scorer
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.ranking.scorers.triton import TritonScorer, scorer_model
from services.runtime.backoff import Backoff
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError
from tests.integration.triton_server import TritonProcess, running_triton
from tests.model_versions import expected_scores, manifest, register_version, scorer_inputs
from tests.processes import running
from tests.waiting import wait_until


def regions(pid: int) -> list[str]:
    """Names of shared memory that a process made."""
    return [path.name for path in Path("/dev/shm").glob(f"loreline-{pid}-*")]


def assert_scores(scorer: Scorer, candidates: int, place: str = "TRITON") -> None:
    inputs = scorer_inputs(candidates, seed=candidates)
    scored = scorer.score(inputs, timeout_seconds=100)
    assert scored.place == place
    np.testing.assert_allclose(scored.values, expected_scores(1, inputs), atol=1e-5)


class TestSharedMemory:
    """Tensors through system shared memory."""

    @pytest.fixture
    def scorer(self, triton: TritonProcess, triton_registry: ModelRegistry) -> Iterator[Scorer]:
        opener = ScorerOpener(ScorerOptions((triton.address,), shared_memory=True))
        yield opener.open(manifest("1"), triton_registry.folder("1"))
        opener.close()
        assert regions(os.getpid()) == []

    def test_scores_are_the_same(self, scorer: Scorer) -> None:
        """For one candidate, and for more than fit the first region, which is then given up for no one."""
        for candidates in (1, 200, 20_000, 7):
            assert_scores(scorer, candidates)

    def test_requests_at_once_have_regions_of_their_own(self, scorer: Scorer) -> None:
        """No request sees another's tensors."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: assert_scores(scorer, n), [20 + n % 3 for n in range(60)]))
        assert 1 <= len(regions(os.getpid())) <= 8

    def test_a_region_the_server_may_still_write_to_is_given_up(self, scorer: Scorer) -> None:
        """After a deadline, and after a refusal."""
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                scorer.score(scorer_inputs(200_000), timeout_seconds=0.001)
        wrong = scorer_inputs(5)
        wrong["item_id"] = wrong["item_id"] + 10_000
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            scorer.score(wrong)
        assert regions(os.getpid()) == []
        assert_scores(scorer, 5)

    def test_a_killed_process_leaves_nothing_behind(
        self, triton: TritonProcess, triton_registry: ModelRegistry
    ) -> None:
        """Its shared memory is unlinked by who watches over it."""
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from services.ranking.scorers.opening import ScorerOpener, ScorerOptions\n"
            "from tests.model_versions import manifest, scorer_inputs\n"
            "opener = ScorerOpener(ScorerOptions((sys.argv[1],), shared_memory=True))\n"
            "opener.open(manifest('1'), Path(sys.argv[2])).score(scorer_inputs(5))\n"
            "print('scored', flush=True)\n"
            "time.sleep(60)\n"
        )
        command = [sys.executable, "-c", program, triton.address, str(triton_registry.folder("1"))]
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            assert process.stdout.readline().strip() == "scored"
            assert regions(process.pid) != []
            process.send_signal(signal.SIGKILL)
        wait_until(lambda: regions(process.pid) == [], what="the regions to be given back")


def test_a_killed_endpoint_is_not_noticed_and_a_revived_one_is_used_again(
    triton: TritonProcess, triton_registry: ModelRegistry, tmp_path: Path
) -> None:
    """Two servers, shared memory on, one killed under load and started anew at its address."""
    output = tmp_path / "models"
    render(triton_registry, output, "python", ["1"])
    with running_triton(output) as second:
        options = ScorerOptions((triton.address, second.address), shared_memory=True, backoff=Backoff(0.1, 0.2))
        opener = ScorerOpener(options)
        scorer = opener.open(manifest("1"), triton_registry.folder("1"))
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(assert_scores, scorer, 20 + n % 5) for n in range(300)]
            futures[20].result()
            second.kill()
            for future in futures:
                future.result()
        assert scorer.healthy() == [triton.address]
        with running_triton(output, address=second.address):
            deadline = time.monotonic() + 100
            while len(scorer.healthy()) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(scorer.healthy()) == 2
            for candidates in range(20, 30):
                assert_scores(scorer, candidates)
        opener.close()


def test_without_triton_the_process_scores_if_it_may(triton_registry: ModelRegistry, tmp_path: Path) -> None:
    """By setting, and said in the answer; back in Triton when that is back."""
    output, folder = tmp_path / "models", triton_registry.folder("1")
    render(triton_registry, output, "python", ["1"])
    with running_triton(output) as server:
        options = ScorerOptions((server.address,), fallback=True, backoff=Backoff(0.1, 0.2))
        opener = ScorerOpener(options)
        strict = ScorerOpener(ScorerOptions((server.address,)))
        scorer = opener.open(manifest("1"), folder)
        assert_scores(scorer, 20)
        server.kill()
        assert_scores(scorer, 20, "FALLBACK")
        with pytest.raises(DependencyUnavailable):
            strict.open(manifest("1"), folder).score(scorer_inputs(3))
        with running_triton(output, address=server.address):
            deadline = time.monotonic() + 100
            while scorer.score(scorer_inputs(3)).place != "TRITON" and time.monotonic() < deadline:
                time.sleep(0.1)
            assert_scores(scorer, 20)
        opener.close()
        strict.close()


class TestPromotionThroughTriton:
    """A version proves itself where it will score."""

    @pytest.mark.parametrize("explicit", [True, False])
    def test_a_version_is_loaded_and_verified(self, tmp_path: Path, explicit: bool) -> None:
        """Told to in explicit mode, waited for in poll mode; a poisoned one is refused by its golden set."""
        registry, output = ModelRegistry(tmp_path / "registry"), tmp_path / "models"
        register_version(registry)
        render(registry, output, "python")
        with running_triton(output, explicit=explicit) as server:
            client = triton_grpc.InferenceServerClient(server.address)
            poisoned = [register_version(registry), register_version(registry, poison={"item_table": np.nan})]
            render(registry, output, "python")
            for version in poisoned:
                load(client, server.address, scorer_model(version), 20)
            results = [self._verify(registry, client, version) for version in poisoned]
            assert results[0] is not None
            assert results[0] < 1e-4
            assert results[1] is None
            with pytest.raises(NotReady, match="has not loaded version 9 of scorer within 1 s: render it"):
                load(client, server.address, scorer_model("9"), 1)
            client.close()

    def _verify(self, registry: ModelRegistry, client: triton_grpc.InferenceServerClient, version: str) -> float | None:
        scorer, folder = TritonScorer(client, scorer_model(version)), registry.folder(version)
        try:
            return verify_scorer(
                lambda inputs: scorer.score(inputs).values, registry.manifest(version), GoldenSet.read(folder)
            )
        except VersionRefused as error:
            assert "NaN" in str(error)
            return None
