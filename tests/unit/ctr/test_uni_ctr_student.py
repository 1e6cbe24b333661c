"""The student that learns Uni-CTR's logits, and its exported files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from services.ctr.backbones import BACKBONES
from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import DistinctKnowledge
from services.ctr.uni_ctr.student import Student, distillation_loss, hide_domains, with_domain
from services.model_registry import scorer_inputs_of
from services.trainer.release.export import ExportedScorer, export

SPEC = FeatureSpec(item_count=30, field_counts=(7, 5), maximum_rating=5, augmented_width=8, embedding_width=8)
KNOWLEDGE = 12
HISTORY = 4


def student(backbone: str = "din") -> Student:
    torch.manual_seed(0)
    adaptor = AdaptorConfig(KNOWLEDGE, augmented_width=8)
    return Student(partial(BACKBONES[backbone], dropout=0.0), SPEC, ["fashion", "music"], adaptor).eval()


def batch(users: int, candidates: int) -> RankingBatch:
    random = torch.Generator().manual_seed(users)

    def index(*shape: int) -> torch.Tensor:
        return torch.randint(1, 5, shape, generator=random)

    return RankingBatch(
        index(users, candidates),
        index(users, candidates, 2),
        torch.rand(users, candidates, 8, generator=random),
        index(users, HISTORY),
        index(users, HISTORY, 2),
        index(users, HISTORY).float(),
        torch.rand(users, 8, generator=random),
    )


def knowledge(users: int, candidates: int) -> tuple[DistinctKnowledge, DistinctKnowledge]:
    random = torch.Generator().manual_seed(1)
    items = torch.arange(users * candidates).view(users, candidates)
    return (
        DistinctKnowledge(torch.rand(items.numel(), KNOWLEDGE, generator=random), items, torch.ones(items.shape)),
        DistinctKnowledge(torch.rand(users, KNOWLEDGE, generator=random), torch.arange(users), torch.ones(users)),
    )


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_any_backbone_scores_by_domain(backbone: str) -> None:
    """The same candidates have other logits in another domain, and in an unknown one."""
    asked = student(backbone)
    logits = [asked(batch(1, 3), *knowledge(1, 3), torch.tensor([domain])) for domain in (0, 1, -1)]
    assert all(one.shape == (1, 3) for one in logits)
    assert not any(torch.equal(logits[one], logits[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def test_each_user_has_a_domain_of_its_own() -> None:
    """A mixed batch is scored as each user alone."""
    asked, domain = student(), torch.tensor([0, -1, 1])
    scorer = asked.network.backbone
    together = scorer(with_domain(batch(3, 2), domain))
    for user in range(3):
        alone = RankingBatch(*[value[user : user + 1] for value in batch(3, 2)])
        torch.testing.assert_close(scorer(with_domain(alone, domain[user : user + 1])), together[user : user + 1])


def test_domains_are_hidden_at_the_rate_asked() -> None:
    """None at 0, all at 1."""
    domain = torch.tensor([0, 1, 1, 0])
    assert torch.equal(hide_domains(domain, 0.0), domain)
    assert torch.equal(hide_domains(domain, 1.0), torch.full((4,), -1))


class TestDistillation:
    """What a student is told."""

    logits, teacher = torch.tensor([0.3, -1.2], requires_grad=True), torch.tensor([1.5, -0.4], requires_grad=True)
    labels = torch.tensor([0.0, 1.0])

    def test_it_mixes_the_teachers_probabilities_with_the_labels(self) -> None:
        """By share; the formula written out."""
        student, teacher = torch.sigmoid(self.logits), torch.sigmoid(self.teacher)
        soft = -(teacher * student.log() + (1 - teacher) * (1 - student).log()).mean()
        hard = -(self.labels * student.log() + (1 - self.labels) * (1 - student).log()).mean()
        wanted = 0.7 * soft + 0.3 * hard
        torch.testing.assert_close(distillation_loss(self.logits, self.teacher, self.labels, 0.7), wanted)

    def test_the_teacher_alone_is_met_at_its_own_logits(self) -> None:
        """There the gradient is zero, at any temperature; and no gradient reaches the teacher."""
        for temperature in (1.0, 2.0):
            logits = self.teacher.detach().clone().requires_grad_()
            distillation_loss(logits, self.teacher, self.labels, 1.0, temperature).backward()
            torch.testing.assert_close(logits.grad, torch.zeros(2))
        assert self.teacher.grad is None

    def test_a_student_learns_its_teacher(self) -> None:
        """Its order of candidates becomes the teacher's, also where the labels say otherwise."""
        asked, teacher = student("dcnv2").train(), torch.tensor([[2.0, -1.0, 0.5], [-2.0, 0.0, 1.0]])
        labels, domain = (teacher < 0).float(), torch.tensor([0, 1])
        optimizer = torch.optim.AdamW(asked.parameters(), lr=0.05)
        asked.network.knowledge_dropout = 0.0
        for _ in range(40):
            optimizer.zero_grad()
            distillation_loss(asked(batch(2, 3), *knowledge(2, 3), domain), teacher, labels, 0.9).backward()
            optimizer.step()
        learned = asked.eval()(batch(2, 3), *knowledge(2, 3), domain)
        assert torch.equal(learned.argsort(dim=1), teacher.argsort(dim=1))


def test_the_exported_scorer_takes_the_domain_and_equals_the_student(tmp_path: Path) -> None:
    """For several users at once, known and unknown domains, any number of candidates."""
    asked = student("dcnv2")
    hashes = export(asked.network, tmp_path, HISTORY, 2, "unictr-student")
    assert sorted(hashes) == ["adaptor.onnx", "scorer.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "scorer.onnx")
    assert [one.name for one in session.get_inputs()] == list(scorer_inputs_of("unictr-student"))
    for users, candidates in ((1, 1), (3, 17)):
        inputs = {**batch(users, candidates)._asdict(), "domain": torch.arange(users) - 1}
        wanted = ExportedScorer(asked.network.backbone)(*inputs.values()).detach().numpy()
        scores = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
