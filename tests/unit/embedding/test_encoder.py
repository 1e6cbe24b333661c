"""Rules of the encoder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from services.embedding.encoder import Encoder
from services.embedding.encoder_export import EncoderUnavailable, encoder_id, exported_encoder
from services.embedding.metrics import EmbeddingMetrics
from services.runtime.errors import DeadlineExceeded, InvalidRequest, Overloaded
from services.wheel_assets import fetch
from tests.small_encoder import save_small_encoder

TEXTS = [
    "A quiet drama about two sisters.",
    "Comedy",
    "An old sailor tells of the sea, of storms, and of the friends he lost there over a long life. " * 4,
    "Fits viewers who like slow stories with a warm mood.",
    "恐怖电影 mit Umlauten: ä ö ü",
    "   ",
    "Action and more action",
]


def test_vectors_equal_those_of_pytorch(encoder: Encoder) -> None:
    """The exported graph gives the sentence vectors that the original model gives."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = fetch("all-MiniLM-L6-v2")
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).numpy()
    cosine = (encoder.encode(TEXTS).vectors * expected).sum(axis=1)
    assert cosine.min() > 0.9999


def test_vectors_have_unit_length_and_the_stated_width(encoder: Encoder) -> None:
    """Every text gets one unit vector of width K."""
    vectors = encoder.encode(TEXTS).vectors
    assert vectors.shape == (len(TEXTS), encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder: Encoder) -> None:
    """Alone, in a batch, and in another order, a text has the same vector to 1e-5."""
    together = encoder.encode(TEXTS).vectors
    backwards = encoder.encode(TEXTS[::-1]).vectors[::-1]
    alone = np.concatenate([encoder.encode([text]).vectors for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, backwards, atol=1e-5)


def test_a_vector_does_not_depend_on_the_size_of_batches(encoder: Encoder, encoder_folder: Path) -> None:
    """One text at a time on one thread, and many at a time on two, give the same vectors in the same order."""
    texts = [f"{'sea and storm ' * (number * 7 % 40)}film {number}" for number in range(60)]
    large = Encoder(encoder_folder, threads=2, batch_texts=64, batch_tokens=4096)
    singly = Encoder(encoder_folder, batch_texts=1)
    np.testing.assert_allclose(large.encode(texts).vectors, singly.encode(texts).vectors, atol=1e-5)


def test_the_metrics_tell_texts_tokens_and_padding(encoder_folder: Path) -> None:
    """Texts of one length need no padding, a short one beside them does; a cut text and a refused call are counted."""
    metrics = EmbeddingMetrics()
    encoder = Encoder(encoder_folder, batch_tokens=4096, metrics=metrics)
    encoder.encode(["a film", "a film"])
    value = metrics.registry.get_sample_value
    assert value("loreline_embedding_texts_total") == 2
    assert value("loreline_embedding_tokens_total") == 8  # with the two that begin and end a text
    assert value("loreline_embedding_padding_tokens_total") == 0
    encoder.encode(["a film", "a film of the sea", "sea " * 300])
    assert value("loreline_embedding_padding_tokens_total") == 2 * encoder.max_tokens - 4 - 7
    assert value("loreline_embedding_truncated_texts_total") == 1
    assert value("loreline_embedding_batch_texts_sum") == 5
    assert value("loreline_embedding_batch_texts_count") == 2
    assert value("loreline_embedding_encode_seconds_count") == value("loreline_embedding_wait_seconds_count") == 2
    assert value("loreline_embedding_waiting_calls") == 0


def test_a_long_text_is_cut_at_its_end_and_counted(encoder: Encoder) -> None:
    """Words after the limit change nothing, and only cut texts are counted."""
    long = "sea " * 300
    encoded = encoder.encode([long, long + "and a mountain", "short"])
    assert encoded.truncated == 2
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[1], atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "field"),
    [([], "texts"), (["x"] * 1025, "texts"), (["x", ""], "texts[1]"), (["x" * 16_385], "texts[0]")],
)
def test_bad_texts_are_refused_by_field(encoder: Encoder, texts: list[str], field: str) -> None:
    """Each broken limit names its field."""
    with pytest.raises(InvalidRequest) as refused:
        encoder.encode(texts)
    assert [name for name, _ in refused.value.violations] == [field]


def test_a_call_without_time_left_ends(encoder: Encoder) -> None:
    """No batch begins after the caller's deadline."""
    with pytest.raises(DeadlineExceeded):
        encoder.encode(["x"], timeout_seconds=0)


def test_more_calls_than_allowed_are_refused(encoder_folder: Path) -> None:
    """A call that finds no turn within the wait ends as overloaded, and a later one gets its turn."""
    metrics = EmbeddingMetrics()
    busy = Encoder(encoder_folder, concurrent_encodings=1, wait_seconds=0, batch_texts=1, metrics=metrics)
    thread = threading.Thread(target=busy.encode, args=(["sea " * 200] * 100,))
    thread.start()
    refused = False
    while thread.is_alive() and not refused:
        try:
            busy.encode(["x"])
        except Overloaded as error:
            refused = error.retry_after_seconds > 0
    thread.join()
    assert refused
    assert metrics.registry.get_sample_value("loreline_embedding_refused_calls_total") == 1
    assert busy.encode(["x"]).vectors.shape == (1, busy.dimension)


def test_an_unknown_encoder_is_refused_by_name(tmp_path: Path) -> None:
    """A name that is nothing says what could have been given; a folder without weights says so."""
    with pytest.raises(EncoderUnavailable, match="no weights"):
        exported_encoder(str(tmp_path))
    with pytest.raises(EncoderUnavailable, match="all-MiniLM-L6-v2"):
        exported_encoder("not a/valid/name")


def test_other_weights_give_another_encoder_id(tmp_path: Path) -> None:
    """Vectors of different weights can never be taken for each other's."""
    ids = set()
    for weights in (b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(weights)
        ids.add(encoder_id("small", tmp_path))
    assert len(ids) == 2
    assert all(identifier.startswith("small-") for identifier in ids)


def test_cls_pooling_takes_the_first_tokens_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At unit length, and under another id than the mean's: their vectors can never be mixed."""
    import torch
    from transformers import AutoModel

    save_small_encoder(tmp_path / "small")
    monkeypatch.setenv("LORELINE_CACHE_DIRECTORY", str(tmp_path / "cache"))
    mean, first = (Encoder(exported_encoder(str(tmp_path / "small"), pooling)) for pooling in ("mean", "cls"))
    with torch.no_grad():
        tokens = AutoModel.from_pretrained(tmp_path / "small").eval()(torch.tensor([[2, 3, 4]])).last_hidden_state
    expected = torch.nn.functional.normalize(tokens[:, 0], dim=-1).numpy()
    np.testing.assert_allclose(first.encode(["a film of"]).vectors, expected, atol=1e-5)
    assert first.id == f"{mean.id}-cls"


@pytest.mark.slow
def test_two_processes_can_export_a_local_encoder_at_once(tmp_path: Path) -> None:
    """Any Hugging Face folder works, and a race leaves one whole export."""
    save_small_encoder(tmp_path / "small")
    command = [sys.executable, "-c", "import sys; from services.embedding.encoder_export import exported_encoder\n"
               "print(exported_encoder(sys.argv[1]))", str(tmp_path / "small")]  # fmt: skip
    environment = os.environ | {"LORELINE_CACHE_DIRECTORY": str(tmp_path / "cache")}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {process.communicate()[0].splitlines()[-1] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(folders) == 1
    assert [path.name for path in (tmp_path / "cache" / "encoders").iterdir()] == [Path(*folders).name]
    encoded = Encoder(Path(*folders)).encode(["a film", "a film of sea " * 9, "sea"])
    assert encoded.vectors.shape == (3, 16)
    assert encoded.truncated == 1
