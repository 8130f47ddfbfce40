"""The best pairing of rows with columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def assign(gain: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair rows with columns so that the sum of `gain` is the greatest there is.

    Where no two rows want the same column, each takes its best. Otherwise every row
    starts there, and each that is left over takes the shortest augmenting path (Crouse, "On
    implementing 2D rectangular assignment algorithms", IEEE TAES 2016).

    Args:
        gain: (N, M), ≥ 0; 0 means that the two must not meet.

    Returns:
        Row and column indices of the pairs, each (K,), by row.
    """
    if not gain.size:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    best = gain.argmax(axis=1)
    row = np.flatnonzero(gain[np.arange(len(gain)), best] > 0)
    column = best[row]
    if len(set(column.tolist())) == len(column):
        return row, column
    return _contested(gain)


def _contested(gain: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Solve where two rows want the same column."""
    n, m = gain.shape
    # Staying alone costs nothing: each row has a column of its own for that.
    cost = np.hstack((np.where(gain > 0, -gain, 1), 1 - np.eye(n))).astype(np.float64)
    best = cost.argmin(axis=1)
    owner = np.full(m + n, -1)
    owner[best[::-1]] = np.arange(n)[::-1]
    row_price = cost[np.arange(n), best]
    column_price = np.zeros(m + n)
    for row in np.flatnonzero(owner[best] != np.arange(n)):
        _augment(cost, int(row), owner, row_price, column_price)
    column = np.flatnonzero(owner[:m] >= 0)
    order = np.argsort(owner[column])
    return owner[column][order], column[order]


def _augment(
    cost: NDArray[np.float64],
    start: int,
    owner: NDArray[np.intp],
    row_price: NDArray[np.float64],
    column_price: NDArray[np.float64],
) -> None:
    """Find row `start` a column, moving other rows on where that costs the least."""
    distance = np.full(len(owner), np.inf)
    came_from = np.full(len(owner), -1)
    closed = np.zeros(len(owner), bool)
    row, column, here = start, -1, 0.0
    while row >= 0:
        through = here + cost[row] - row_price[row] - column_price
        nearer = ~closed & (through < distance)
        distance[nearer] = through[nearer]
        came_from[nearer] = column
        column = int(np.where(closed, np.inf, distance).argmin())
        here = float(distance[column])
        row = int(owner[column])
        closed[column] = row >= 0
    saved = here - distance[closed]
    row_price[owner[closed]] += saved
    row_price[start] += here
    column_price[closed] -= saved
    while came_from[column] >= 0:
        owner[column] = owner[came_from[column]]
        column = came_from[column]
    owner[column] = start
