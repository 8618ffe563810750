"""Windows over texts, the losses of a language task, and the choice of its model."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.evaluate import evaluate
from paretorch.training.models.gpt import GPT
from paretorch.training.models.llama import Llama
from paretorch.training.seeding import generator
from paretorch.training.tasks.text import language
from paretorch.training.tasks.text.decoder import Decoder, as_decoder
from paretorch.training.tasks.text.language import LanguageTask
from paretorch.training.tasks.text.ngram import ngram_nll
from paretorch.training.tasks.text.windows import IGNORED, Stream, TrainingWindows, cut, evaluation_windows

TINY = Decoder(context=5, width=8, depth=1, heads=2)


def stream(tokens: Tensor, *, bytes_per_token: int = 2) -> Stream:
    return Stream(tokens=tokens.to(torch.int32), num_bytes=bytes_per_token * (len(tokens) - 1))


def make_task(**options: object) -> LanguageTask:
    tokens = torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(1))
    settings: dict[str, object] = {
        "name": "tiny",
        "metric": "nll",
        "decoder": TINY,
        "vocab_size": 7,
        "train": stream(tokens[:120]),
        "evaluation": stream(tokens[120:161]),
        "test": stream(tokens[161:]),
    }
    return LanguageTask(**settings | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [2, 5, 6, 7, 11, 12, 40])
def test_evaluation_windows_predict_every_token_but_the_first_exactly_once(length: int) -> None:
    tokens = torch.arange(100, 100 + length)
    batch = evaluation_windows(stream(tokens), context=5, name="it").batch(torch.arange(-(-(length - 1) // 5)))
    predicted = batch["targets"] != IGNORED
    assert batch["targets"][predicted].tolist() == tokens[1:].tolist()
    assert batch["inputs"][predicted].tolist() == tokens[:-1].tolist(), "each is predicted from the one before it"
    assert batch["inputs"].shape == batch["targets"].shape


def test_text_without_anything_to_predict_is_refused() -> None:
    with pytest.raises(InputError, match="the test text has 1 tokens"):
        evaluation_windows(stream(torch.zeros(1)), context=5, name="the test text")


def test_training_windows_begin_at_every_offset_and_never_leave_their_place() -> None:
    windows = TrainingWindows(stream(torch.arange(43)), context=5)
    assert len(windows) == 7  # 43 // 5 - 1
    stored = windows.batch(torch.arange(7))
    offsets: set[int] = set()
    for step in range(40):
        batch = cut(stored, training=True, generator=generator(0, step))
        starts = batch["inputs"][:, 0]
        assert torch.equal(batch["inputs"], starts[:, None] + torch.arange(5))
        assert torch.equal(batch["targets"], batch["inputs"] + 1)
        offsets |= set((starts - 5 * torch.arange(7)).tolist())
    assert offsets == {0, 1, 2, 3, 4}


def test_training_windows_without_training_lie_side_by_side() -> None:
    stored = TrainingWindows(stream(torch.arange(43)), context=5).batch(torch.arange(7))
    batch = cut(stored, training=False, generator=generator(0, 0))
    assert batch["inputs"].flatten().tolist() == list(range(35))
    assert batch["targets"].flatten().tolist() == list(range(1, 36))


def test_limit_takes_the_first_windows() -> None:
    windows = TrainingWindows(stream(torch.arange(43)), context=5, limit=2)
    assert len(windows) == 2
    assert windows.tokens.tolist() == list(range(15))
    for limit in (0, 8):
        with pytest.raises(InputError, match=rf"train_limit must be between 1 and 7 windows of 5 tokens; got {limit}"):
            TrainingWindows(stream(torch.arange(43)), context=5, limit=limit)


def test_training_text_that_is_too_short_is_refused() -> None:
    assert len(TrainingWindows(stream(torch.arange(10)), context=5)) == 1
    with pytest.raises(InputError, match="has 9 tokens; windows of 5 at random offsets need at least 10"):
        TrainingWindows(stream(torch.arange(9)), context=5)


class Uniform(nn.Module):
    """Knows nothing: all of seven tokens are equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, 7)


def test_a_model_that_knows_nothing_has_the_logarithm_of_the_vocabulary_as_loss() -> None:
    task = make_task()
    found = evaluate(task, Uniform(), task.test_set())
    assert found["nll"] == pytest.approx(math.log(7), rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(math.log2(7) / 2, rel=1e-6)


def test_evaluation_is_the_mean_over_all_tokens_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()  # 38 predictions in windows of 5: the last window has 3
    model = task.model().eval()
    batch = task.test_set().batch(torch.arange(8))
    with torch.no_grad():
        losses = F.cross_entropy(model(batch["inputs"]).transpose(1, 2), batch["targets"], reduction="none")
    total = float(losses.double().sum())
    for size in (1, 3, 512):
        found = evaluate(task, model, task.test_set(), batch_size=size)
        assert found["nll"] == pytest.approx(total / 38, rel=1e-6)
        assert found["bits_per_byte"] == pytest.approx(total / (2 * 38) / math.log(2), rel=1e-6)
    monkeypatch.setattr(language, "MOST_LOGITS", 2 * 5 * 7)  # two windows at once
    assert evaluate(task, model, task.test_set())["nll"] == pytest.approx(total / 38, rel=1e-6)


@torch.no_grad()
def test_loss_is_the_mean_over_tokens_and_of_each_example() -> None:
    task = make_task()
    model, batch = task.model().eval(), task.test_set().batch(torch.tensor([0, 7]))  # 5 and 3 tokens
    each = task.loss(model, batch, "none")
    assert each.shape == (2,)
    assert float(task.loss(model, batch)) == pytest.approx(float(5 * each[0] + 3 * each[1]) / 8, rel=1e-6)
    alone = F.cross_entropy(model(batch["inputs"])[1, :3], batch["targets"][1, :3])
    assert float(each[1]) == pytest.approx(float(alone), rel=1e-6)


def test_metrics_of_training_examples_are_those_of_windows_side_by_side() -> None:
    task = make_task()
    model = task.model().eval()
    found = evaluate(task, model, task.train_set())["nll"]
    again = evaluate(task, model, task.windows(stream(task.train_set().tokens[:116]), name="it"))["nll"]
    assert found == pytest.approx(again, rel=1e-6)  # 120 // 5 - 1 = 23 windows predict 115 tokens


def test_references_are_ngrams_of_the_training_text_in_units_of_the_metric() -> None:
    nats, bits = make_task(orders=(1, 2, 4)), make_task(metric="bits_per_byte", train_limit=3)
    train, test = nats.train_set().tokens, nats._test_stream.tokens
    expected = ngram_nll(train, test, vocab_size=7, order=4)
    assert nats.references() == {"unigram": expected[0], "bigram": expected[1], "4-gram": expected[3]}
    short = ngram_nll(train[:20], test, vocab_size=7, order=3)  # three windows reach to token 20
    found = bits.references()
    assert list(found) == ["unigram", "bigram", "trigram"]
    assert list(found.values()) == pytest.approx([nll / 2 / math.log(2) for nll in short])
    found.clear()
    assert bits.references()


def test_smaller_is_better_and_the_model_can_be_named() -> None:
    task = make_task()
    assert task.better(1.0, 2.0)
    reference, kwargs = task.constructor() or ("", {})
    assert reference == "paretorch.training.models.gpt:GPT"
    rebuilt = GPT(**kwargs)
    rebuilt.load_state_dict(task.model().state_dict())
    assert rebuilt(task.example_inputs()[0]).shape == (1, 5, 7)


def test_both_kinds_of_decoder_have_about_as_many_parameters() -> None:
    gpt, llama = (Decoder(kind=kind, width=96).build(10) for kind in ("gpt", "llama"))  # type: ignore[arg-type]
    assert isinstance(gpt, GPT)
    assert isinstance(llama, Llama)
    sizes = [sum(p.numel() for p in model.blocks.parameters()) for model in (gpt, llama)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def test_decoder_is_read_from_a_table() -> None:
    assert as_decoder({"context": 9, "depth": 2}) == Decoder(context=9, depth=2)
    assert as_decoder(TINY) is TINY


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"widht": 3}, "`model` has no key 'widht'; did you mean 'width'"),
        ({"kind": "rnn"}, r"no language model 'rnn'; choose from \['gpt', 'llama'\]"),
        ({"kind": "llama", "dropout": 0.1}, "a Llama has no dropout; got dropout=0.1"),
        ({"width": 30}, "width=30 of a GPT must be a multiple of heads=4"),
        ({"kind": "llama", "width": 12}, "width=12 of a Llama must be an even multiple of heads=4"),
    ],
)
def test_decoder_that_cannot_be_built_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_decoder(table)
