"""Configs of several domains that cannot be: the message names the field and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from transformers import PreTrainedTokenizerFast

from services.ctr.multi_domain import MULTI_DOMAIN
from services.ctr.uni_ctr.ladders import LADDERS
from services.model_registry import ModelRegistry
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.multi_domain.config import SHARED_DOMAINS, Ladder, MultiDomainConfig, read_any_config
from services.trainer.multi_domain.runs import train_domains
from services.trainer.multi_domain.training import prepare, train_network
from services.trainer.training.config import InvalidConfig
from tests.tiny_language_models import tiny_language_model, word_tokenizer
from tests.unit.trainer.test_multi_domain_leakage import dataset_of

BASE = {
    "task": "multi-domain",
    "network": "unictr",
    "batch_size": "8",
    "learning_rate": "0.1",
    "epochs": "1",
    "seed": "1",
}
WORDS = {"language_model": "none", "prompt_mode": "id-only"}


@pytest.fixture(scope="module")
def dataset() -> MultiDomainDataset:
    """Three domains."""
    return dataset_of()


def written(folder: Path, **lines: str) -> str:
    path = folder / "mine.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in (BASE | lines).items()))
    return str(path)


def train(dataset: MultiDomainDataset, **changes: object) -> None:
    config = MultiDomainConfig.model_validate(BASE | changes)
    train_network(dataset, prepare(dataset, config), config)


def test_a_config_knows_every_network_and_ladder_by_its_name() -> None:
    """The names stand in the config as text, so that reading one needs no PyTorch."""
    assert tuple(MULTI_DOMAIN) == SHARED_DOMAINS
    assert set(get_args(Ladder)) == {*LADDERS, "none"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", "0", "epochs: Input should be greater than or equal to 1"),
        ("history_length", "-1", "history_length: Input should be greater than or equal to 0"),
        ("max_tokens", "8", "max_tokens: Input should be greater than or equal to 16"),
        ("temperature", "0", "temperature: Input should be greater than 0"),
        ("prompt_mode", "long", "prompt_mode: Input should be 'full', 'id-and-name' or 'id-only'"),
        ("ladder", "spiral", "ladder: Input should be 'transformer', 'attention', 'bottleneck' or 'none'"),
        ("network_options", "{tower: [16, 0]}", r"network_options: .*tower must be at least 1, is \[16, 0\]"),
        ("network_options", "{gate_width: -1}", "network_options: .*gate_width must be at least 1, is -1"),
        ("left_out", "lamps\nadded: lamps", "added: 'lamps' is left out"),
    ],
)
def test_a_value_out_of_bounds_is_named(tmp_path: Path, name: str, value: str, words: str) -> None:
    """By file and field, before any data is read."""
    with pytest.raises(InvalidConfig, match=rf"mine\.yaml: .*{words}"):
        read_any_config(written(tmp_path, **{name: value}))


def test_a_config_that_is_not_there_is_answered_with_those_that_are() -> None:
    """Of one domain and of several."""
    with pytest.raises(
        InvalidConfig, match=r"no training config 'unicrt'; did you mean 'unictr'\?: .*mmoe.*unictr, unictr-student"
    ):
        read_any_config("unicrt")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate_width": "wide"}, "network_options: gate_width: Input should be a valid integer.*is 'wide'"),
        ({"tower": 3}, "network_options: tower: Input should be a valid tuple, is 3"),
        ({"general_pooling": "max"}, "network_options: general_pooling: Input should be 'mean' or 'last', is 'max'"),
        ({"ladder": "spiral"}, "network_options: ladder: Input should be 'transformer'.*is 'spiral'"),
        ({"towers": [8]}, "network_options: unictr refuses them: .*towers"),
    ],
)
def test_options_that_uni_ctr_cannot_have_are_refused(
    dataset: MultiDomainDataset, options: dict[str, object], words: str
) -> None:
    """By the option, and never taken for another one in silence."""
    with pytest.raises(InvalidConfig, match=words):
        train(dataset, network_options=options, **WORDS)


def test_a_language_model_that_cannot_be_had_is_named(dataset: MultiDomainDataset, tmp_path: Path) -> None:
    """A folder without one."""
    with pytest.raises(InvalidConfig, match=r"language_model: .*taken for a local folder: .*neither config"):
        train(dataset, language_model=str(tmp_path))


def test_prompts_longer_than_the_language_model_are_refused(dataset: MultiDomainDataset, tmp_path: Path) -> None:
    """With both lengths."""
    tiny_language_model("bert").save_pretrained(tmp_path)
    PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(["of"]), model_max_length=64, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(tmp_path)
    with pytest.raises(InvalidConfig, match=r"language_model: .* takes 64 tokens at most; max_tokens is 65"):
        train(dataset, language_model=str(tmp_path), max_tokens=65)


def test_a_student_is_not_compared_without_a_teacher(dataset: MultiDomainDataset) -> None:
    """The message says what trains one."""
    with pytest.raises(InvalidConfig, match="network: a student learns from a registered version: `loreline train`"):
        train(dataset, network="unictr-student")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "mmoe"}, "network: mmoe is a baseline, which `loreline evaluate` compares"),
        ({"general": False, **WORDS}, "general: must be true for a network that is to rank"),
    ],
)
def test_what_cannot_be_served_is_not_registered(
    dataset: MultiDomainDataset, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    """It is refused before it is trained."""
    with pytest.raises(InvalidConfig, match=words):
        train_domains(dataset, tmp_path, ModelRegistry(tmp_path), MultiDomainConfig.model_validate(BASE | changes))
    assert ModelRegistry(tmp_path).versions() == []
