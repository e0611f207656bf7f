"""Do the fast losses equal the plain loop over rungs, in value and in every gradient?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from adanns import mrl  # noqa: E402

torch.set_num_threads(1)  # at these sizes more threads only wait for each other

LADDER = (3, 5, 12)
CLASSES = 7

ladders = st.sets(st.integers(1, 24), min_size=1, max_size=5).map(lambda rungs: tuple(sorted(rungs)))
seeds = st.integers(0, 2**31)
few = settings(max_examples=25)  # each is a dozen gradients


def doubles(seed: int, *shape: int) -> Any:
    """Random float64 numbers that gradients are asked of."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def integers(seed: int, high: int, *shape: int) -> Any:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def weights_for(ladder: tuple[int, ...], seed: int) -> list[float]:
    return list(np.random.default_rng(seed).uniform(0.1, 2, len(ladder)))


def assert_same(loss: Any, expected: Any, inputs: list[Any]) -> None:
    """Equal values, and equal gradients in all inputs."""
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    # Scaled as a gradient scaler does, which the fast path treats apart.
    for scale in (1.0, 3.0):
        got = torch.autograd.grad(scale * loss, inputs, retain_graph=True)
        wanted = torch.autograd.grad(scale * expected, inputs, retain_graph=True)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def looped_logits(head: Any, embeddings: Any) -> list[Any]:
    """A plain linear classifier at every rung."""
    logits = []
    for rung, dims in enumerate(head.ladder):
        which = 0 if head.tied else rung
        bias = head.biases[which] if len(head.biases) else None
        logits.append(functional.linear(embeddings[:, :dims], head.weights[which][:, :dims], bias))
    return logits


@pytest.mark.parametrize("tied", [False, True])
@few
@given(ladder=ladders, batch=st.integers(1, 9), classes=st.integers(1, 11), bias=st.booleans(), seed=seeds)
def test_head_equals_a_classifier_per_rung(
    tied: bool, ladder: tuple[int, ...], batch: int, classes: int, bias: bool, seed: int
) -> None:
    head = mrl.MatryoshkaHead(ladder, classes, tied=tied, bias=bias).double()
    embeddings = doubles(seed, batch, ladder[-1])
    mix = doubles(seed + 1, len(ladder), batch, classes).detach()
    logits, expected = head(embeddings), torch.stack(looped_logits(head, embeddings))
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    assert_same((logits * mix).sum(), (expected * mix).sum(), [embeddings, *head.parameters()])


@pytest.mark.parametrize("tied", [False, True])
@few
@given(
    ladder=ladders,
    batch=st.integers(1, 9),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    ignored=st.floats(0, 1),
    seed=seeds,
)
def test_cross_entropy_equals_the_loop(
    tied: bool, ladder: tuple[int, ...], batch: int, smoothing: float, ignored: float, seed: int
) -> None:
    head = mrl.MatryoshkaHead(ladder, CLASSES, tied=tied).double()
    weights = weights_for(ladder, seed)
    embeddings = doubles(seed, batch, ladder[-1])
    targets = integers(seed, CLASSES, batch)
    targets[torch.rand(batch, generator=torch.Generator().manual_seed(seed)) < ignored] = -7
    targets[0] = 0  # torch's own gives NaN where nothing counts
    loss = mrl.MatryoshkaCrossEntropy(head, weights=weights, label_smoothing=smoothing, ignore_index=-7)
    expected = sum(
        weight * functional.cross_entropy(logits, targets, label_smoothing=smoothing, ignore_index=-7)
        for weight, logits in zip(weights, looped_logits(head, embeddings), strict=True)
    )
    assert_same(loss(embeddings, targets), expected, [embeddings, *head.parameters()])


def test_cross_entropy_passes_a_numeric_gradient_check() -> None:
    for tied in (False, True):
        head = mrl.MatryoshkaHead(LADDER, CLASSES, tied=tied).double()
        loss = mrl.MatryoshkaCrossEntropy(head, weights=(1, 0.5, 2), label_smoothing=0.1)
        targets = torch.tensor([0, 6, -100, 2])
        assert torch.autograd.gradcheck(lambda x, loss=loss, y=targets: loss(x, y), doubles(0, 4, 12))


def test_cross_entropy_of_a_batch_without_targets_is_zero() -> None:
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(LADDER, CLASSES))
    embeddings = torch.randn(4, 12, requires_grad=True)
    value = loss(embeddings, torch.full((4,), -100))
    value.backward()
    assert float(value.detach()) == 0
    assert not embeddings.grad.any()


def test_cross_entropy_of_huge_logits_stays_finite() -> None:
    head = mrl.MatryoshkaHead((2,), 3, bias=False)
    with torch.no_grad():
        head.weights[0].copy_(torch.tensor([[1e4, 0], [0, 1e4], [0, 0]]))
    value = mrl.MatryoshkaCrossEntropy(head)(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert float(value.detach()) == 1e4


@pytest.mark.parametrize("tied", [False, True])
def test_logits_share_memory_from_step_to_step_but_no_gradient_does(tied: bool) -> None:
    loss = mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(LADDER, CLASSES, tied=tied))
    inputs = [doubles(seed, 4, 12).detach().float().requires_grad_() for seed in range(3)]
    targets = [integers(seed, CLASSES, 4) for seed in range(3)]

    def gradient(which: int, value: Any = None) -> Any:
        value = loss(inputs[which], targets[which]) if value is None else value
        return torch.autograd.grad(value, inputs[which], retain_graph=True)[0]

    alone = [gradient(which) for which in range(3)]
    # All forward before any backward, in both orders, and one of them twice.
    values = [loss(one, target) for one, target in zip(inputs, targets, strict=True)]
    for which in (0, 2, 1, 1):
        assert torch.equal(gradient(which, values[which]), alone[which])
    # A graph kept beyond the next forward pass has lost its logits, and torch says so.
    later = [loss(one, target) for one, target in zip(inputs, targets, strict=True)]
    for which in range(3):
        assert torch.equal(gradient(which, later[which]), alone[which])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        [gradient(which, value) for which, value in enumerate(values)]
    assert torch.equal(copy.deepcopy(loss)(inputs[0], targets[0]), loss(inputs[0], targets[0]))


def test_frozen_parts_get_no_gradient() -> None:
    for tied in (False, True):
        head = mrl.MatryoshkaHead(LADDER, CLASSES, tied=tied)
        head.weights[0].requires_grad_(False)
        mrl.MatryoshkaCrossEntropy(head)(torch.randn(4, 12), torch.zeros(4, dtype=torch.int64)).backward()
        assert head.weights[0].grad is None
        assert head.biases[-1].grad is not None


def test_a_rigid_head_is_a_head_of_one_rung() -> None:
    head = mrl.MatryoshkaHead((12,), CLASSES)
    embeddings = torch.randn(4, 12)
    torch.testing.assert_close(head(embeddings)[0], functional.linear(embeddings, head.weights[0], head.biases[0]))


def cosine_logits(left: Any, right: Any, dims: int, temperature: float) -> Any:
    left, right = functional.normalize(left[:, :dims], dim=1), functional.normalize(right[:, :dims], dim=1)
    return left @ right.T / temperature


@few
@given(ladder=ladders, batch=st.integers(2, 9), symmetric=st.booleans(), seed=seeds)
def test_info_nce_equals_the_loop_over_normalised_prefixes(
    ladder: tuple[int, ...], batch: int, symmetric: bool, seed: int
) -> None:
    weights = weights_for(ladder, seed)
    pair = doubles(seed, 2, batch, ladder[-1])

    def plain(views: Any) -> Any:
        logits = cosine_logits(views[0], views[1], views.shape[-1], 0.2)
        own = torch.arange(batch)
        one_way = functional.cross_entropy(logits, own)
        return (one_way + functional.cross_entropy(logits.T, own)) / 2 if symmetric else one_way

    loss = mrl.MatryoshkaInfoNCE(ladder, temperature=0.2, weights=weights, symmetric=symmetric)
    assert_same(loss(pair[0], pair[1]), mrl.MatryoshkaLoss(plain, ladder, weights=weights)(pair), [pair])


@few
@given(ladder=ladders, batch=st.integers(3, 9), seed=seeds)
def test_neighbours_equals_the_loop_over_rungs(ladder: tuple[int, ...], batch: int, seed: int) -> None:
    weights = weights_for(ladder, seed)
    embeddings, imitated = doubles(seed, batch, ladder[-1]), doubles(seed + 1, batch, 6).detach()
    others = ~torch.eye(batch, dtype=torch.bool)

    def among_others(vectors: Any, dims: int) -> Any:
        return cosine_logits(vectors, vectors, dims, 0.3)[others].view(batch, batch - 1)

    def plain(prefix: Any) -> Any:
        wanted = among_others(imitated, 6).softmax(1)
        return functional.cross_entropy(among_others(prefix, prefix.shape[1]), wanted)

    loss = mrl.MatryoshkaNeighbours(ladder, temperature=0.3, weights=weights)
    assert_same(
        loss(embeddings, imitated), mrl.MatryoshkaLoss(plain, ladder, weights=weights)(embeddings), [embeddings]
    )


@few
@given(ladder=ladders, length=st.integers(1, 5), smoothing=st.sampled_from([0.0, 0.1]), seed=seeds)
def test_masked_tokens_equal_the_loop_over_all_positions(
    ladder: tuple[int, ...], length: int, smoothing: float, seed: int
) -> None:
    weights = weights_for(ladder, seed)
    embedding = torch.nn.Parameter(doubles(seed, 11, ladder[-1]).detach())
    loss = mrl.MatryoshkaMaskedToken(ladder, 11, embedding=embedding, weights=weights, label_smoothing=smoothing)
    loss.double()
    hidden = doubles(seed + 1, 3, length, ladder[-1])
    targets = integers(seed, 11, 3, length)
    targets[1:] = -100
    bias = loss.loss.head.biases[0]

    def plain(prefix: Any) -> Any:
        logits = functional.linear(prefix, embedding[:, : prefix.shape[-1]], bias)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=smoothing)

    expected = mrl.MatryoshkaLoss(plain, ladder, weights=weights)(hidden)
    assert_same(loss(hidden, targets), expected, [hidden, embedding, bias])


def test_masked_tokens_share_the_model_s_embedding() -> None:
    embedding = torch.nn.Embedding(11, 12)
    loss = mrl.MatryoshkaMaskedToken(LADDER, 11, embedding=embedding.weight)
    assert any(parameter is embedding.weight for parameter in loss.parameters())


def test_zero_vectors_have_a_finite_loss_and_gradient() -> None:
    zeros = torch.zeros(3, 12, requires_grad=True)
    for loss in (
        mrl.MatryoshkaInfoNCE(LADDER, temperature=0.1)(zeros, torch.randn(3, 12)),
        mrl.MatryoshkaNeighbours(LADDER, temperature=0.1)(zeros, torch.randn(3, 12)),
    ):
        (gradient,) = torch.autograd.grad(loss, zeros)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("tied", [False, True])
def test_autocast_multiplies_in_bfloat16_and_sums_losses_in_float32(tied: bool) -> None:
    torch.manual_seed(0)
    head = mrl.MatryoshkaHead(LADDER, CLASSES, tied=tied)
    loss = mrl.MatryoshkaCrossEntropy(head)
    embeddings, targets = torch.randn(64, 12, requires_grad=True), integers(0, CLASSES, 64)
    exact = loss(embeddings, targets)
    (wanted,) = torch.autograd.grad(exact, embeddings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(embeddings).dtype == torch.bfloat16
        value = loss(embeddings, targets)
    (gradient,) = torch.autograd.grad(value, embeddings)
    assert value.dtype == gradient.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=5e-3, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))


@pytest.mark.parametrize("tied", [False, True])
def test_exported_arrays_give_the_head_s_logits(tied: bool, tmp_path: Any) -> None:
    head = mrl.MatryoshkaHead(LADDER, CLASSES, tied=tied)
    np.savez(tmp_path / "classifier.npz", **head.export())
    arrays = np.load(tmp_path / "classifier.npz")
    embeddings = np.random.default_rng(0).standard_normal((5, 12), dtype=np.float32)
    logits = head(torch.from_numpy(embeddings)).detach().numpy()
    assert arrays["ladder"].dtype == np.int64
    for rung, dims in enumerate(arrays["ladder"]):
        weight, bias = arrays[f"weight_{dims}"], arrays[f"bias_{dims}"]
        assert weight.dtype == bias.dtype == np.float32
        np.testing.assert_allclose(embeddings[:, :dims] @ weight.T + bias, logits[rung], rtol=1e-5, atol=1e-6)


def test_an_export_is_a_copy_and_a_missing_bias_is_zero() -> None:
    head = mrl.MatryoshkaHead(LADDER, CLASSES, bias=False)
    head.export()["weight_3"][:] = 7
    assert not (head.weights[0] == 7).any()
    assert not head.export()["bias_3"].any()


HEAD: dict[str, Any] = {"ladder": LADDER, "classes": CLASSES}


def cross_entropy(embeddings: Any, targets: Any) -> Any:
    return mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(**HEAD))(embeddings, targets)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mrl.MatryoshkaHead((8, 4), 3), "must be positive and increase"),
        (lambda: mrl.MatryoshkaHead(None, 3), "ladder is None"),
        (lambda: mrl.MatryoshkaHead(LADDER, 0), "classes=0"),
        (lambda: mrl.MatryoshkaHead(**HEAD)(torch.zeros(4, 11)), "(batch, 12): the ladder ends at 12"),
        (lambda: mrl.MatryoshkaHead(**HEAD)(torch.zeros(4, 12, dtype=torch.int64)), "expected a tensor of floats"),
        (lambda: mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(**HEAD), weights=(1, 2)), "2 weights for 3 rungs"),
        (lambda: mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(**HEAD), weights=(0, 0, 0)), "not all of them 0"),
        (lambda: mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(**HEAD), weights=(1, 1, np.nan)), "finite"),
        (lambda: mrl.MatryoshkaCrossEntropy(mrl.MatryoshkaHead(**HEAD), label_smoothing=1), "label_smoothing=1"),
        (lambda: mrl.MatryoshkaCrossEntropy(torch.nn.Linear(12, 7)), "head is a Linear; expected a MatryoshkaHead"),
        (lambda: cross_entropy(torch.zeros(2, 12), torch.tensor([0, 7])), "target 7 at row 1; expected 0 ... 6"),
        (lambda: cross_entropy(torch.zeros(2, 12), torch.tensor([-1, 0])), "target -1 at row 0"),
        (lambda: cross_entropy(torch.zeros(2, 12), torch.tensor([0])), "expected (2,)"),
        (lambda: cross_entropy(torch.zeros(1, 12), torch.tensor([0.0])), "expected a tensor of int64"),
        (lambda: mrl.MatryoshkaLoss(3, LADDER), "expected a callable"),
        (lambda: mrl.MatryoshkaLoss(torch.sum, LADDER)(torch.zeros(2, 13)), "the ladder ends at 12"),
        (lambda: mrl.MatryoshkaInfoNCE(LADDER, temperature=0), "temperature=0"),
        (lambda: mrl.MatryoshkaInfoNCE(LADDER, temperature=1)(torch.zeros(2, 12), torch.zeros(3, 12)), "2 and 3 rows"),
        (lambda: mrl.MatryoshkaNeighbours(LADDER, temperature=1)(torch.zeros(2, 12), torch.zeros(2, 5)), "at least 3"),
        (lambda: mrl.MatryoshkaMaskedToken(LADDER, 9, embedding=torch.zeros(9, 12)), "a parameter of shape (9, 12)"),
        (
            lambda: mrl.MatryoshkaMaskedToken(LADDER, 9)(torch.zeros(2, 4, 12), torch.zeros(2, 5, dtype=torch.int64)),
            "targets have shape (2, 5); expected (2, 4)",
        ),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert message in str(caught.value)
