"""Training and comparing networks of several domains: by domain, zero-shot, with a domain added later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from services.ctr.multi_domain import MULTI_DOMAIN
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.evaluation.metrics import relative_improvement
from services.trainer.evaluation.significance import RankedScores, paired_bootstrap
from services.trainer.multi_domain.config import SINGLE_DOMAIN, MultiDomainConfig, read_any_config
from services.trainer.multi_domain.domain_data import gather
from services.trainer.multi_domain.experiments import Experiment, trial_of
from services.trainer.multi_domain.loop import fit
from services.trainer.multi_domain.networks import build, unchanged, with_domain
from services.trainer.multi_domain.training import EVERY, prepare, train_network
from services.trainer.training.config import InvalidConfig
from services.trainer.training.run import RunObserver
from tests.several_domains import read_domains, write_domains, write_language_model

DOMAINS = ("lamps", "songs", "tools")
SMALL = {
    "embedding_width": 8,
    "batch_size": 32,
    "epochs": 8,
    "patience": 8,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
}
SIZES: dict[str, dict[str, object]] = {
    "shared-bottom": {"bottom": [16], "tower": [8]},
    "mmoe": {"expert": [16], "tower": [8]},
    "ple": {"levels": 1, "expert": [16], "tower": [8]},
    "star": {"hidden": [16], "auxiliary": [8]},
    "pepnet": {"hidden": [16], "gate": 8},
    "dnn": {"deep": [16]},
    "dcn": {"deep": [16], "hidden": [8]},
    "deepfm": {"deep": [16]},
    "autoint": {"layers": 1, "size": 8},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MultiDomainDataset:
    """Three domains in which titles, and so ids, tell 9 of 10 labels."""
    return read_domains(write_domains(tmp_path_factory.mktemp("domains"), DOMAINS))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers."""
    return write_language_model(tmp_path_factory.mktemp("bert"))


def config_of(network: str, **changes: object) -> MultiDomainConfig:
    shipped = f"single-{network}" if network in SINGLE_DOMAIN else network
    options = {"network_options": SIZES.get(network, {})}
    return MultiDomainConfig.model_validate(read_any_config(shipped).model_dump() | SMALL | options | changes)


def uni_ctr(folder: Path, **changes: object) -> MultiDomainConfig:
    sizes = {"network_options": {"tower": [16], "gate_width": 8}, "max_tokens": 64, "ladder_every": 1}
    rates = {"learning_rate": 0.005, "language_model_rate": 0.002, "epochs": 4, "language_model": str(folder)}
    return config_of("unictr", **{**sizes, **rates, **changes})


def test_relative_improvement_is_that_of_the_paper() -> None:
    """0.7523 over 0.7031 is 24.2% (arXiv 2312.10743, table III)."""
    assert round(100 * relative_improvement(0.7523, 0.7031), 1) == 24.2


@pytest.mark.parametrize("network", [*MULTI_DOMAIN, *SINGLE_DOMAIN])
def test_every_baseline_learns_each_domain(dataset: MultiDomainDataset, network: str, tmp_path: Path) -> None:
    """Far more than chance, where ids tell the labels."""
    config = config_of(network, epochs=16, patience=16)  # with 8 another seed may still end near chance
    [found] = Experiment(dataset, tmp_path).compare({network: config}, seeds=1)
    assert {name: figures.heads for name, figures in found.domains.items()} == {name: ["own"] for name in DOMAINS}
    assert all(figures.samples == 32 for figures in found.domains.values())
    assert found.mean_auc > 0.7


def test_uni_ctr_learns_each_domain_from_its_words(
    dataset: MultiDomainDataset, language_model: Path, tmp_path: Path
) -> None:
    """By the networks of the domains; and says how its language model began."""
    config = uni_ctr(language_model)
    [found] = Experiment(dataset, tmp_path).compare({"unictr": config}, seeds=1)
    assert found.mean_auc > 0.65
    assert found.facts["language_model"] == "pretrained weights"


@pytest.mark.parametrize(
    "changes", [{"ladder": "none"}, {"general": False}, {"language_model": "none", "prompt_mode": "id-only"}], ids=str
)
def test_each_part_can_be_left_out(
    dataset: MultiDomainDataset, language_model: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Ladders, the general network, the language model."""
    config = uni_ctr(language_model, **{"epochs": 1, **changes})
    [found] = Experiment(dataset, tmp_path).compare({"part": config}, seeds=1)
    assert set(found.domains) == set(DOMAINS)


def test_a_left_out_domain_goes_to_the_best_head_of_a_baseline(dataset: MultiDomainDataset) -> None:
    """Every head is tried on the test part, which favours the baseline."""
    config = config_of("mmoe", left_out="tools")
    trial, logits = trial_of("mmoe", config, train_network(dataset, prepare(dataset, config), config))
    heads = trial.zero_shot["tools"]
    assert set(heads) == {"lamps", "songs"}
    assert trial.heads["tools"] == max(heads, key=heads.__getitem__)
    assert trial.domains["tools"]["auc"] == pytest.approx(max(heads.values()))
    assert not np.isnan(logits).any()


def test_a_left_out_domain_goes_to_the_general_network_of_uni_ctr(
    dataset: MultiDomainDataset, language_model: Path
) -> None:
    """Whether or not another head would do better; here what it learnt of words is true there too."""
    config = uni_ctr(language_model, left_out="tools")
    trial, _ = trial_of("unictr", config, train_network(dataset, prepare(dataset, config), config))
    assert trial.heads["tools"] == "general"
    assert set(trial.zero_shot["tools"]) == {"general", "lamps", "songs"}
    assert trial.domains["tools"]["auc"] == pytest.approx(trial.zero_shot["tools"]["general"])
    assert trial.domains["tools"]["auc"] > 0.6


@pytest.mark.parametrize("network", MULTI_DOMAIN)
def test_a_baseline_grows_by_a_domain_and_all_else_stays(dataset: MultiDomainDataset, network: str) -> None:
    """Bit for bit, weight decay and all; and the new domain is learnt."""
    config = config_of(network, added="tools")
    fitted = train_network(dataset, prepare(dataset, config), config)
    trial, _ = trial_of(network, config, fitted)
    assert trial.heads == dict.fromkeys(DOMAINS, "own")
    assert trial.domains["tools"]["auc"] > 0.6


def test_a_network_whose_domains_are_mixed_is_not_grown(dataset: MultiDomainDataset) -> None:
    """From two levels on PLE's shared gate weighs all domains' experts: a new one changes the others' scores."""
    config = config_of("ple", added="tools", epochs=1, network_options={"levels": 2, "expert": [16], "tower": [8]})
    with pytest.raises(InvalidConfig, match="added: ple cannot grow with the rest unchanged; of ple set levels: 1"):
        train_network(dataset, prepare(dataset, config), config)


def test_uni_ctr_learns_an_added_domain(dataset: MultiDomainDataset, language_model: Path) -> None:
    """From the words that the language model knows of the others; the others' scores are found unchanged."""
    config = uni_ctr(language_model, added="tools", learning_rate=0.01)
    trial, _ = trial_of("unictr", config, train_network(dataset, prepare(dataset, config), config))
    assert trial.heads == dict.fromkeys(DOMAINS, "own")
    assert trial.domains["tools"]["auc"] > 0.6


def test_the_rest_is_frozen_while_an_added_domain_is_learnt(dataset: MultiDomainDataset, language_model: Path) -> None:
    """The language model and all networks keep every weight; each weight matrix of the new network moves."""
    config = uni_ctr(language_model, epochs=1)
    before = build(gather(dataset, config, ["tools"]), config, ("lamps", "songs"))
    kept = {name: value.clone() for name, value in before.network.state_dict().items()}
    data = gather(dataset, config)
    grown = with_domain(before, data, config, "tools")
    fresh = {name: value.clone() for name, value in grown.network.state_dict().items() if name not in kept}
    tools = [data.of(part, ["tools"]) for part in (data.split.training, data.split.validation)]
    fit(grown, data, *tools, config)
    after = grown.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept.items())
    matrices = {name: value for name, value in fresh.items() if value.ndim == 2}
    assert matrices
    assert not any(torch.equal(after[name], value) for name, value in matrices.items())


def test_a_network_that_changed_is_found_out(dataset: MultiDomainDataset) -> None:
    """The check of growing compares every head."""
    config = config_of("mmoe")
    data = gather(dataset, config)
    one, other = (build(data, config, DOMAINS) for _ in range(2))
    assert unchanged(one, other, data)
    with torch.no_grad():
        other.network.towers[0].logit.bias.add_(1e-3)
    assert not unchanged(one, other, data)


def test_a_comparison_is_with_uni_ctr_by_domain(
    dataset: MultiDomainDataset, language_model: Path, tmp_path: Path
) -> None:
    """RelaImpr and lead are of uni-ctr over each other config; finished trials are not trained again."""
    stages: list[str] = []
    wanted = {"mmoe": config_of("mmoe", epochs=1), "unictr": uni_ctr(language_model, epochs=1)}
    experiment = Experiment(dataset, tmp_path, RunObserver(stage=stages.append))
    mmoe, unictr = experiment.compare(wanted, seeds=2)
    assert mmoe.reference == unictr.reference == "unictr"
    for name, figures in mmoe.domains.items():
        best = unictr.domains[name]
        assert best.rela_impr is None
        assert best.difference is None
        assert figures.difference is not None
        assert figures.difference.mean == pytest.approx(best.auc - figures.auc, abs=1e-4)
        if figures.auc > 0.5:
            assert figures.rela_impr == pytest.approx(relative_improvement(best.auc, figures.auc))
        else:
            assert figures.rela_impr is None
    assert len(stages) == 4
    assert experiment.compare(wanted, seeds=2) == [mmoe, unictr]
    assert len(stages) == 4


def test_early_stopping_keeps_the_best_epochs_weights(dataset: MultiDomainDataset) -> None:
    """Of the mean AUC of the domains' validation parts."""
    config = config_of("shared-bottom", epochs=6, patience=2, learning_rate=0.05)
    data = gather(dataset, config)
    fitted = train_network(dataset, data, config)
    best = max(epoch.validation["mean auc"] for epoch in fitted.epochs)
    samples = data.split.validation
    aucs = [
        RankedScores(part.label[:, 0], fitted.logits(part, name)).auc(np.ones(len(part)))
        for name in DOMAINS
        for part in [data.of(samples, [name])]
    ]
    assert float(np.mean(aucs)) == pytest.approx(best, abs=1e-6)
    assert EVERY in fitted.learners


def test_draws_without_both_labels_do_not_count() -> None:
    """A domain with one negative sample has many of them."""
    label, score = np.array([1, 1, 1, 0], dtype=np.float32), np.array([0.9, 0.8, 0.7, 0.1])
    auc = RankedScores(label, score).auc
    found = paired_bootstrap(np.arange(4), [auc], [auc])
    assert (found.mean, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("network: mmmoe", "network: .*must be one of unictr, unictr-student, shared-bottom"),
        ("language_model: none", "prompt_mode: must be id-only without a language model"),
        ("ladders: none", "ladders: Extra inputs are not permitted"),
        ("tuning: lora", "tuning: Input should be 'full', 'low-rank' or 'frozen'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path: Path, line: str, words: str) -> None:
    """Naming the field and what was expected."""
    base = ["task: multi-domain", "batch_size: 8", "learning_rate: 0.1", "epochs: 1", "seed: 1"]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([*base, line, *([] if line.startswith("network") else ["network: unictr"])]))
    with pytest.raises(InvalidConfig, match=words):
        read_any_config(str(path))


def test_options_that_a_network_does_not_have_are_refused(dataset: MultiDomainDataset) -> None:
    """With the network's own words."""
    config = config_of("mmoe", network_options={"tops": 3})
    with pytest.raises(InvalidConfig, match=r"network_options: mmoe refuses them: .*tops"):
        train_network(dataset, prepare(dataset, config), config)
