"""What a run over several domains can be told. Networks stand here by name alone: reading a config needs no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.ctr.uni_ctr.prompts import PromptMode
from services.model_registry import ScorerKind
from services.trainer.training.config import TrainingConfig, checked, read_document

Tuning = Literal["full", "low-rank", "frozen"]
Ladder = Literal["transformer", "attention", "bottleneck", "none"]
UNICTR: ScorerKind = "unictr"
STUDENT: ScorerKind = "unictr-student"
SINGLE_DOMAIN = ("dnn", "dcn", "deepfm", "autoint")
SHARED_DOMAINS = ("shared-bottom", "mmoe", "ple", "star", "pepnet")
NETWORKS = (UNICTR, STUDENT, *SHARED_DOMAINS, *SINGLE_DOMAIN)
DEFAULT_LANGUAGE_MODEL = "all-MiniLM-L6-v2"
NO_LANGUAGE_MODEL = "none"
TASK: Literal["multi-domain"] = "multi-domain"


class MultiDomainConfig(BaseModel):
    """Sizes and rates of one run over several domains. Rates are of AdamW, shares are probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["multi-domain"]
    network: str
    """`unictr`, its student, or a baseline; single-domain ones are trained once for each domain."""
    network_options: dict[str, Any] = {}
    """The network's own sizes by the names of its constructor; of unictr those of UniCtrConfig."""
    domains: tuple[str, ...] = ()
    """The domains that are used; none named means all that the dataset has."""
    left_out: tuple[str, ...] = ()
    """Domains that are tested and never trained: zero-shot."""
    added: str = ""
    """A domain that is added when all others are trained, and with the rest frozen."""
    history_length: int = Field(default=5, ge=0, le=50)
    """Newest interactions of a positive label that a network sees."""
    embedding_width: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    id_dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of candidates trained as if their id had never been seen; of networks on categorical features."""
    language_model: str = DEFAULT_LANGUAGE_MODEL
    """A bundled one, a folder, a name of the Hugging Face hub; `none`: a deep network on ids (prompts of ids alone)."""
    initial_weights: Literal["pretrained", "random"] = "pretrained"
    """Random ones make a network of that shape, which is no language model yet."""
    tuning: Tuning = "full"
    """What is trained of the language model: all, low-rank additions (LoRA), or nothing."""
    low_rank: int = Field(default=8, ge=1)
    low_rank_alpha: int = Field(default=32, ge=1)
    ladder_every: int = Field(default=2, ge=1)
    """Layers from one ladder to the next."""
    ladder: Ladder = "transformer"
    general: bool = True
    """Whether there is a general network."""
    prompt_mode: PromptMode = "full"
    max_tokens: int = Field(default=128, ge=16)
    teacher: str = ""
    """Of a student: the unictr version that it learns from; the newest one when none is named."""
    teacher_share: float = Field(default=0.7, ge=0, le=1)
    """Of a student: the share of the loss that is against the teacher's probabilities; the rest is the labels'."""
    temperature: float = Field(default=1.0, gt=0)
    """Of a student: what logits are divided by where it is compared with the teacher."""
    student_backbone: str = "dcn"
    """Of a student: the backbone behind the adaptor."""
    domain_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Of a student: share of samples whose domain is hidden, and whose teacher is the general network."""
    knowledge_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of a student: share of stored text vectors that training hides."""
    samples_per_domain: int = Field(default=0, ge=0)
    """The newest so many training samples of each domain; 0 takes all."""
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    language_model_rate: float = Field(default=5e-5, gt=0)
    """The learning rate of the language model."""
    weight_decay: float = Field(default=0.0, ge=0)
    warm_up: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps over which the rates rise; then they fall as a cosine."""
    epochs: int = Field(ge=1)
    patience: int = Field(default=1, ge=1)
    """Epochs without a better mean AUC of the domains' validation parts before training stops."""
    gradient_norm: float = Field(default=5.0, gt=0)
    seed: int
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @field_validator("domains", "left_out", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("network")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NETWORKS:
            raise ValueError(f"must be one of {', '.join(NETWORKS)}, is {value!r}")
        return value

    @field_validator("network_options")
    @classmethod
    def _sized(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, given in value.items():
            for size in given if isinstance(given, list | tuple) else [given]:
                if type(size) is int and size < 1:  # torch would fail later, without the name
                    raise ValueError(f"{name} must be at least 1, is {given}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> MultiDomainConfig:
        if self.added and self.added in self.left_out:
            raise ValueError(f"added: {self.added!r} is left out")
        if self.language_model == NO_LANGUAGE_MODEL and self.prompt_mode != "id-only":
            raise ValueError("prompt_mode: must be id-only without a language model")
        return self


AnyConfig = TrainingConfig | MultiDomainConfig


def read_any_config(name_or_path: str) -> AnyConfig:
    """The config of that file, or the shipped one of that name, of whichever task. Raises InvalidConfig."""
    path, document = read_document(name_or_path)
    several = isinstance(document, dict) and document.get("task") == TASK
    return checked(MultiDomainConfig, path, document) if several else checked(TrainingConfig, path, document)
