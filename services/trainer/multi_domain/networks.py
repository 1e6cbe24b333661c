"""Builds the networks of a run over several domains, and lets them grow by one with the rest frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from services.ctr.backbones import BACKBONES
from services.ctr.multi_domain import MULTI_DOMAIN
from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel
from services.ctr.uni_ctr.network import UniCtr
from services.trainer.multi_domain.config import UNICTR, MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.features import Features, features_of
from services.trainer.multi_domain.language_models import build_backbone
from services.trainer.multi_domain.learners import FeatureLearner, Learner, PromptLearner
from services.trainer.multi_domain.stored_versions import StoredVersion
from services.trainer.multi_domain.token_table import prompt_format, token_table, written
from services.trainer.training.config import InvalidConfig
from services.trainer.training.run import device


def build(data: DomainData, config: MultiDomainConfig, domains: Sequence[str]) -> Learner:
    """A network for some domains, with its way to its inputs. Raises InvalidConfig."""
    torch.manual_seed(config.seed)
    if config.network == UNICTR:
        return _uni_ctr(data, config, domains)
    features = features_of(data, config.history_length)
    network = feature_network(features, config, len(domains)).to(device())
    return FeatureLearner(network, features, tuple(domains), device(), config.id_dropout)


def feature_network(features: Features, config: MultiDomainConfig, domains: int) -> nn.Module:
    """A baseline for that many domains. Raises InvalidConfig."""
    spec = features.spec(config.embedding_width)
    try:
        if config.network in MULTI_DOMAIN:
            made = MULTI_DOMAIN[config.network](spec, domains, dropout=config.dropout, **config.network_options)
        else:
            made = BACKBONES[config.network](spec, dropout=config.dropout, **config.network_options)
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"network_options: {config.network} refuses them: {error}") from error
    return made


def with_domain(learner: Learner, data: DomainData, config: MultiDomainConfig, name: str) -> Learner:
    """The learner with a domain more, of which alone it learns from now on. Raises InvalidConfig.

    Uni-CTR adds a network. A baseline keeps every weight that it had, bit for bit: what is new is the domain's own
    parts, and embeddings of ids and values that only its training part holds.
    """
    torch.manual_seed(config.seed)
    if isinstance(learner, PromptLearner):
        try:
            learner.network.add_domain(name)
        except ValueError as error:
            raise InvalidConfig(f"added: {error}") from error
        table = token_table(data, learner.form, learner.tokenizer)
        return replace(learner, table=table, data=data)
    if not isinstance(learner, FeatureLearner) or config.network not in MULTI_DOMAIN:
        raise InvalidConfig(f"added: a {config.network} network has no parts of domains; train it on the domain alone")
    features = features_of(data, config.history_length, known=learner.features.vocabulary)
    domains = (*learner.domains, name)
    return FeatureLearner(
        _grown(learner.network, feature_network(features, config, len(domains)).to(device())),
        features,
        domains,
        device(),
        config.id_dropout,
    )


def stored_with_domain(stored: StoredVersion, data: DomainData, name: str) -> PromptLearner:
    """A network for one domain over a stored version's language model, which stays as it is. Raises InvalidConfig."""
    torch.manual_seed(stored.config.seed)
    config = replace(_sizes(stored.config), general=False)
    try:
        table = stored.table(data)
        network = UniCtr(cast(LanguageModel, stored.language_model()), config, [name])  # it has its face
    except ValueError as error:
        raise InvalidConfig(f"domain {name}: {error}") from error
    return PromptLearner(network, table, data, torch.device("cpu"), stored.form, stored.tokenizer, "stored")


def unchanged(before: Learner, after: Learner, data: DomainData, rows: int = 64) -> bool:
    """Whether the heads that were there before score some samples as they did, bit for bit."""
    samples = data.of(data.split.validation, before.heads[-1:])
    chosen = np.arange(min(rows, len(samples)))
    for learner in (before, after):
        learner.network.eval()
    compared: Learner = after
    if isinstance(before, FeatureLearner) and isinstance(after, FeatureLearner):
        compared = FeatureLearner(after.network, before.features, after.domains, after.device)
    with torch.inference_mode():
        return all(
            torch.equal(before.logits(samples, chosen, head), compared.logits(samples, chosen, head))
            for head in before.heads
        )


def _uni_ctr(data: DomainData, config: MultiDomainConfig, domains: Sequence[str]) -> PromptLearner:
    form = prompt_format(data, config)
    known = (parts.text for parts in written(data, form, data.split.training.row))
    backbone = build_backbone(config, known)
    try:
        table = token_table(data, form, backbone.tokenizer)
        network = UniCtr(backbone.network, _sizes(config), domains).to(device())
    except ValueError as error:
        raise InvalidConfig(f"unictr: {error}") from error
    return PromptLearner(network, table, data, device(), form, backbone.tokenizer, backbone.origin)


def _sizes(config: MultiDomainConfig) -> UniCtrConfig:
    options: dict[str, Any] = {"ladder": config.ladder, "general": config.general, **config.network_options}
    try:
        return TypeAdapter(UniCtrConfig).validate_python(asdict(UniCtrConfig(**options)))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise InvalidConfig(f"network_options: {place}: {fault['msg']}, is {fault['input']!r}") from error
    except TypeError as error:
        raise InvalidConfig(f"network_options: unictr refuses them: {error}") from error


def _grown(old: nn.Module, new: nn.Module) -> nn.Module:
    """`new` with all weights that `old` has, frozen; of a table that is longer now, the first rows."""
    kept = dict(old.named_parameters())
    buffers = dict(old.named_buffers())
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            if name not in kept:
                continue
            rows = len(kept[name])
            parameter[:rows] = kept[name]
            if parameter.shape == kept[name].shape:
                parameter.requires_grad_(False)
            else:
                parameter.register_hook(partial(_only_behind, rows))  # type: ignore[no-untyped-call]
        for name, buffer in new.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])
    return new


def _only_behind(rows: int, gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[:rows] = 0
    return gradient
