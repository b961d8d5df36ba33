"""QuickLSTM is nn.LSTM: outputs, states, gradients and names, over packed sequences."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from s3prl_upstreams import quick_lstm
from s3prl_upstreams.quick_lstm import QuickLSTM, replace_lstm, train_quickly

LENGTHS = {"one": [5], "one_frame": [1], "sorted": [7, 5, 5, 1], "unsorted": [2, 6, 1, 6, 3]}


@pytest.fixture
def in_blocks(monkeypatch):
    """Cut even the small matrices of these tests."""
    monkeypatch.setattr(quick_lstm, "BLOCK", 4)
    monkeypatch.setattr(quick_lstm, "WORTH_CUTTING", 1)


def pair(**options):
    """torch's LSTM and ours with the same weights."""
    torch.manual_seed(0)
    stock = nn.LSTM(3, 4, **options)
    quick = copy.deepcopy(stock)
    assert replace_lstm(quick) == 1
    return stock, quick


def results(lstm, lengths, with_states=False):
    """All that comes out, and the gradients of all that went in."""
    generator = torch.Generator().manual_seed(1)
    kind = {"generator": generator, "dtype": lstm.weight_hh_l0.dtype}
    size, directions = len(lengths), 2 if lstm.bidirectional else 1
    x_BTI = torch.randn(size, max(lengths), 3, **kind, requires_grad=True)
    states = [
        torch.randn(lstm.num_layers * directions, size, 4, **kind, requires_grad=True)
        for _ in range(2)
    ]
    packed = pack_padded_sequence(x_BTI, lengths, batch_first=True, enforce_sorted=False)
    torch.manual_seed(2)  # dropout between layers
    output, last = lstm(packed, tuple(states)) if with_states else lstm(packed)
    padded_BTH, lengths_B = pad_packed_sequence(output, batch_first=True)
    assert lengths_B.tolist() == lengths
    outcome = [padded_BTH, *last]
    wishes = [torch.randn(tensor.shape, **kind) for tensor in outcome]
    leaves = [x_BTI, *(states if with_states else []), *lstm.parameters()]
    loss = sum((a * b).sum() for a, b in zip(outcome, wishes, strict=True))
    return [*outcome, *torch.autograd.grad(loss, leaves)]


def assert_same(stock, quick, **options):
    for a, b in zip(stock, quick, strict=True):
        torch.testing.assert_close(b, a, **options)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_as_torch(lengths, bidirectional, layers, with_states, blocks, request):
    if blocks:
        request.getfixturevalue("in_blocks")
    lstms = pair(num_layers=layers, bidirectional=bidirectional)
    stock, quick = (results(lstm.double(), lengths, with_states) for lstm in lstms)
    assert_same(stock, quick, rtol=1e-11, atol=1e-12)


def test_as_torch_with_dropout_and_without_biases():
    """Dropout draws the same numbers."""
    stock, quick = pair(num_layers=3, bidirectional=True, dropout=0.5, bias=False)
    assert_same(results(stock, [6, 4, 1]), results(quick, [6, 4, 1]))


@pytest.mark.parametrize("size", [2, 6])
def test_float32_of_a_usable_size(size):
    """256 columns and 60 frames: cut as in earnest. 1e-5 of the largest gradient."""
    torch.manual_seed(0)
    stock = nn.LSTM(32, 64, bidirectional=True, batch_first=True)
    quick = copy.deepcopy(stock)
    replace_lstm(quick)
    x_BTI = torch.randn(size, 60, 32)
    lengths = [60 - 7 * index for index in range(size)]
    gradients = []
    for lstm in (stock, quick):
        output, _ = lstm(pack_padded_sequence(x_BTI, lengths, batch_first=True))
        gradients.append(torch.autograd.grad(output.data.square().sum(), list(lstm.parameters())))
    for a, b in zip(*gradients, strict=True):
        assert (a - b).abs().max() < 1e-5 * a.abs().max()


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_the_function(reverse, in_blocks):
    torch.manual_seed(0)
    shapes = {"x_NI": (6, 3), "w_ih": (16, 3), "w_hh": (16, 4), "bias": (16,)}
    leaves = [torch.randn(shape, dtype=torch.double) for shape in shapes.values()]
    leaves += [torch.randn(3, 4, dtype=torch.double) for _ in ("h0_BH", "c0_BH")]
    for leaf in leaves:
        leaf.requires_grad_()
    function = quick_lstm._Recurrence.apply
    assert torch.autograd.gradcheck(lambda *x: function(*x, [3, 2, 1], reverse), leaves)


def test_a_graph_that_is_kept_gives_the_same_twice():
    _, quick = pair(bidirectional=True)
    output, _ = quick(pack_padded_sequence(torch.randn(5, 2, 3), [5, 3]))
    loss, weights = output.data.square().sum(), list(quick.parameters())
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, weights)))


def took_our_way(monkeypatch, lstm, sequence):
    calls = []
    layers = QuickLSTM._layers
    monkeypatch.setattr(
        QuickLSTM, "_layers", lambda self, *args: calls.append(1) or layers(self, *args)
    )
    lstm(sequence)
    return bool(calls)


def test_what_remains_torchs(monkeypatch):
    _, quick = pair()
    packed = pack_padded_sequence(torch.randn(5, 2, 3), [5, 3])
    assert took_our_way(monkeypatch, quick, packed)
    assert not took_our_way(monkeypatch, quick, torch.randn(5, 2, 3))
    with torch.no_grad():
        assert not took_our_way(monkeypatch, quick, packed)
    with torch.autocast("cpu", torch.bfloat16):
        assert not took_our_way(monkeypatch, quick, packed)
    _, projected = pair(proj_size=2)
    assert not took_our_way(monkeypatch, projected, packed)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        quick(pack_padded_sequence(torch.randn(5, 2, 7), [5, 3]))
    with pytest.raises(RuntimeError, match="hidden"):
        quick(packed, (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)))


def test_names_and_objects_stay():
    class Own(nn.LSTM):
        """Somebody's subclass has its own forward, perhaps."""

    model = nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.Sequential(nn.GRU(3, 4), nn.LSTM(3, 4))})
    model["c"] = Own(3, 4)
    before, objects = model.state_dict(), list(model.modules())
    assert replace_lstm(model) == 2
    assert list(model.state_dict()) == list(before)
    assert all(a is b for a, b in zip(model.modules(), objects, strict=True))
    assert type(model["c"]) is Own
    assert replace_lstm(model) == 0
    fresh = nn.LSTM(3, 4)
    fresh.load_state_dict(model["a"].state_dict())
    packed = PackedSequence(torch.randn(3, 3), torch.tensor([2, 1]))
    assert torch.allclose(fresh(packed)[0].data, model["a"](packed)[0].data)


@pytest.mark.parametrize(
    ("changes", "wanted", "quick"),
    [
        ({}, True, True),
        ({"downstream": "ctc"}, True, True),
        ({}, False, False),
        ({"downstream": "diarization"}, True, False),
        ({"device": "cuda"}, True, False),
        ({"mode": "evaluate"}, True, False),
    ],
)
def test_where_s3prl_trains_quickly(changes, wanted, quick, capsys):
    args = SimpleNamespace(**{"downstream": "asr", "device": "cpu", "mode": "train", **changes})
    entry = SimpleNamespace(model=nn.Sequential(nn.LSTM(3, 4), nn.LSTM(3, 4)))
    get_downstream = train_quickly(lambda _runner: entry, wanted)
    assert get_downstream(SimpleNamespace(args=args)) is entry
    assert {type(lstm) for lstm in entry.model} == {QuickLSTM if quick else nn.LSTM}
    said = capsys.readouterr().err
    assert said.startswith("[espnet_kd] 2 nn.LSTM") if quick else not said


def test_a_head_without_lstm_is_passed_in_silence(capsys):
    args = SimpleNamespace(downstream="ctc", device="cpu", mode="train")
    entry = SimpleNamespace(model=nn.Linear(1, 1))
    train_quickly(lambda _runner: entry)(SimpleNamespace(args=args))
    assert not capsys.readouterr().err
