"""The order of very many samples, without a list of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BLOCK = 1 << 16
"""Places that are worked out at a time."""
ROUNDS = 8
Numbers = npt.NDArray[np.uint64]


class Permutation:
    """A permutation that is worked out where it is looked at: of a hundred million samples no list is ever made.

    Source: a Feistel network over the next power of two (M. Luby, C. Rackoff, SIAM Journal on Computing 17(2), 1988),
    applied again to what falls beyond the last row (J. Black, P. Rogaway: Ciphers with Arbitrary Finite Domains, CT-RSA
    2002).
    """

    def __init__(self, rows: int, *, seed: int) -> None:
        self._rows = rows
        self._keys = np.random.default_rng(seed).integers(0, 2**63, ROUNDS).astype(np.uint64)
        bits = max((rows - 1).bit_length(), 2)
        self._low, self._high = np.uint64(bits // 2), np.uint64(bits - bits // 2)
        self._number, self._block = -1, torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, places: slice, /) -> Tensor:
        """The samples at consecutive places."""
        start, stop, _ = places.indices(self._rows)
        parts = [
            self._of_block(number)[max(start - number * BLOCK, 0) : stop - number * BLOCK]
            for number in range(start // BLOCK, -(-stop // BLOCK))
        ]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)

    def _of_block(self, number: int) -> Tensor:
        """The samples of a block of places; the last one asked for is kept."""
        if number != self._number:
            places = np.arange(number * BLOCK, min((number + 1) * BLOCK, self._rows), dtype=np.uint64)
            self._number, self._block = number, torch.from_numpy(self._walk(places).astype(np.int64))
        return self._block

    def _walk(self, numbers: Numbers) -> Numbers:
        """Each number permuted until it is a row."""
        beyond = np.arange(len(numbers))
        while len(beyond):
            numbers[beyond] = self._permute(numbers[beyond])
            beyond = beyond[numbers[beyond] >= self._rows]
        return numbers

    def _permute(self, numbers: Numbers) -> Numbers:
        """A permutation of the power of two: each half of the bits in turn is mixed into the other."""
        one = np.uint64(1)
        low_bits, high_bits = (one << self._low) - one, (one << self._high) - one
        for number, key in enumerate(self._keys):
            if number % 2:
                numbers = numbers ^ (_mixed((numbers >> self._low) ^ key) & low_bits)
            else:
                numbers = numbers ^ ((_mixed((numbers & low_bits) ^ key) & high_bits) << self._low)
        return numbers


def _mixed(numbers: Numbers) -> Numbers:
    """Every bit of the result depends on every bit given.

    Source: the last lines of next() in splitmix64.c, S. Vigna, 2015, https://prng.di.unimi.it/splitmix64.c
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
