"""Random numbers as pure functions of names."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.randomness import Stream, bits, integers, permuted, seed, uniform

N = 100_000
GOLDEN = 0x9E3779B97F4A7C15


def test_one_name_gives_the_published_sequence_of_splitmix64():
    # The first five numbers of SplitMix64 seeded with 1234567, as its authors' C code gives them.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    ours = [int(bits(1234567 + i * GOLDEN)) % 2**64 for i in range(5)]
    assert ours == published


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6), st.integers(-(2**63), 2**63 - 1))
def test_a_draw_is_the_same_alone_and_in_any_company(run_seed, epoch, index):
    alone = bits(run_seed, Stream.FLIP, epoch, index)
    company = torch.tensor([3, index, -1, index])
    together = bits(run_seed, Stream.FLIP, epoch, company)
    assert together[1] == together[3] == alone
    assert bits(run_seed, torch.tensor(int(Stream.FLIP)), torch.tensor(epoch), company)[1] == alone


@pytest.mark.parametrize(
    "names", [(0, Stream.CROP_X, 0), (1, Stream.CROP_X, 0), (7, Stream.FLIP, 99)]
)
def test_numbers_are_uniform_over_the_images(names):
    u = uniform(*names, torch.arange(N)).numpy()
    assert u.dtype == np.float64
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_numbers_are_uniform_over_seeds_and_over_epochs():
    many = torch.arange(N)
    for u in (uniform(many, Stream.FLIP, 0, 5), uniform(3, Stream.FLIP, many, 5)):
        assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3


def test_streams_seeds_epochs_and_neighbours_are_independent():
    index = torch.arange(N)
    columns = [
        uniform(s, stream, epoch, index + shift).numpy()
        for s, stream, epoch, shift in itertools.product(
            (0, 1), (Stream.CROP_Y, Stream.CROP_X, Stream.FLIP), (0, 1), (0, 1)
        )
    ]
    correlations = np.corrcoef(columns)
    off = ~np.eye(len(columns), dtype=bool)
    assert np.abs(correlations[off]).max() < 5 / np.sqrt(N)


def test_every_bit_is_a_fair_coin():
    drawn = bits(0, Stream.ORDER, 0, torch.arange(N)).numpy().view(np.uint64)
    for bit in range(64):
        ones = int(((drawn >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - N / 2) < 5 * np.sqrt(N) / 2, bit


@pytest.mark.parametrize("high", [1, 2, 9, 31])
def test_integers_take_each_value_equally_often(high):
    counts = np.bincount(integers(high, 0, Stream.CROP_Y, 3, torch.arange(N)), minlength=high)
    assert len(counts) == high
    assert high == 1 or stats.chisquare(counts).pvalue > 1e-3


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=60), st.data())
def test_leaving_indices_out_leaves_the_others_in_their_order(indices, data):
    kept = data.draw(st.sets(st.sampled_from(sorted(indices)), min_size=1))
    whole = permuted(torch.tensor(sorted(indices)), 0, Stream.ORDER, 4).tolist()
    part = permuted(torch.tensor(sorted(kept)), 0, Stream.ORDER, 4).tolist()
    assert sorted(whole) == sorted(indices)
    assert part == [i for i in whole if i in kept]


def test_orders_of_epochs_and_seeds_differ():
    orders = [
        permuted(torch.arange(50), s, Stream.ORDER, e).tolist() for s in (0, 1) for e in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4
    firsts = [int(permuted(torch.arange(10), 0, Stream.ORDER, e)[0]) for e in range(2000)]
    assert stats.chisquare(np.bincount(firsts, minlength=10)).pvalue > 1e-3


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=6))
def test_seeds_suit_torchs_generators(names):
    torch.Generator().manual_seed(seed(*names))
    assert 0 <= seed(*names) < 2**63
