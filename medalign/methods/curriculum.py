"""In which order training goes through the questions where they stand in stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class StagedOrder:
    """A sampler that goes through a stage as often as there are epochs, and then through the next.

    This is the one-pass curriculum of Bengio et al. (2009), as Cirik et al. (2016) call it; within a stage every
    pass has an order of its own. The passes are joined and cut anew into pieces of all questions' number: a
    trainer takes each for an epoch, so steps, their sizes and the learning rate's schedule are those of
    training without stages. A step can hold the end of one stage and the beginning of the next.

    Args:
        stages: Number of questions of each stage; they stand in this order.
        epochs: Passes over every stage.
    """

    def __init__(self, stages: Sequence[int], *, epochs: int, seed: int) -> None:
        self._stages = tuple(stages)
        self._epochs = epochs
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        """Of what a trainer takes for an epoch."""
        return sum(self._stages)

    def set_epoch(self, epoch: int) -> None:
        """Says which piece comes next; a trainer that goes on from a checkpoint says it too."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        size = len(self)
        return iter(self._whole()[size * self._epoch : size * (self._epoch + 1)])

    def _whole(self) -> list[int]:
        import numpy as np

        order: list[int] = []
        first = 0
        for number, size in enumerate(self._stages):
            for epoch in range(self._epochs):
                generator = np.random.default_rng((self._seed, number, epoch))
                order += (first + generator.permutation(size)).tolist()
            first += size
        return order
