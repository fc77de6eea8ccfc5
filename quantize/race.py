"""The position search without rounding every element at every candidate: who cannot win is dropped early.

Let S(p) be the exact sum of (x - q(x))**2 at position p. Its terms are not negative, so the sum over
any part of the tensor is a lower bound of S(p). The likely winner is evaluated in full; each other
candidate only until its part exceeds the winner's whole, which a part of the tensor nearly always
settles.

What decides by definition is T(p), torch's float32 sum. Three sources of error separate it from the
sums here, and `_MARGIN` exceeds all of them together:
- a term rounded to float32: relative 2**-24 for the square; the difference x - q is exact (both are
  multiples of x's last bit and the difference is no longer than x);
- a float32 sum of 8192 terms in whatever order, as taken here: relative 8192 * 2**-24 < 5e-4, and
  float64 beyond;
- torch's cascade sum: four levels, each of at most max(16, n**(1/4)) times two additions on each of
  the vector's lanes, then the lanes: below 2000 additions for 2**32 elements, relative 2000 * 2**-24 < 2e-4.
So |T(p) - S(p)| < 1e-3 S(p), up to `_TINY` a term where squares underflow, and a lower bound above
(1 + `_MARGIN`) times an upper bound decides T as well. What stays closer is left to the definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantize.pieces import PIECE, Span, share, squared_error
from xmodel.graph import Array

_MARGIN = 2.0**-7
_TINY = 2.0**-100  # bounds an underflown square, in units of the step squared or absolute, with room to spare
_FIRST = 4  # pieces that every candidate is evaluated on
_STARTS = range(-40, 12)  # first positions at which scaling and squaring stay far from float32's limits


@dataclass(slots=True)
class _Runner:
    """One candidate: the squared error of its first `done` pieces."""

    position: int
    total: float = 0.0
    done: int = 0


def contenders(x: Array, candidates: Sequence[int], span: Span) -> Sequence[int]:
    """Those of the candidates that can have the least T, usually one; ascending.

    `x` holds finite float32 elements, `span` is theirs; the candidates are consecutive, and nothing
    saturates at the first.
    """
    start = candidates[0]
    if start not in _STARTS:
        return candidates
    order = _spread(-(-x.size // PIECE))
    tiny = x.size * _TINY * (1 + 4.0**-start)
    runners = [_Runner(position) for position in candidates]

    def advance(runner: _Runner, pieces: int) -> None:
        tasks = order[runner.done : runner.done + pieces]
        step = 4.0**-runner.position
        errors = share(tasks, lambda i: squared_error(x[i * PIECE : (i + 1) * PIECE], runner.position, span))
        runner.total += step * math.fsum(errors)
        runner.done += len(tasks)

    for runner in runners:
        advance(runner, _FIRST)
    best = min(runners, key=lambda runner: runner.total)  # the lowest of equals
    advance(best, len(order))
    left = [best]
    for runner in runners:
        if runner is best:
            continue
        while runner.total <= best.total * (1 + _MARGIN) + tiny and runner.done < len(order):
            advance(runner, max(_FIRST, runner.done // 2))
        if runner.total <= best.total * (1 + _MARGIN) + tiny:
            left.append(runner)
    return _without_losers(left, tiny)


def _without_losers(finished: list[_Runner], tiny: float) -> Sequence[int]:
    """Drop who is beaten by another finished candidate, and all after one whose error is exactly zero.

    A zero here means that every element lies on the grid or is so small that it rounds to zero at every
    candidate alike: nothing can be strictly less.
    """
    least = min(runner.total for runner in finished) * (1 + _MARGIN) + tiny
    left = sorted((runner for runner in finished if runner.total <= least), key=lambda runner: runner.position)
    return [left[0].position] if left[0].total == 0 else [runner.position for runner in left]


def _spread(pieces: int) -> list[int]:
    """Every piece once, in an order in which neighbours are far apart: the first few resemble the whole."""
    step = max(1, round(pieces * 0.618))
    while math.gcd(step, pieces) != 1:
        step += 1
    return [index * step % pieces for index in range(pieces)]
