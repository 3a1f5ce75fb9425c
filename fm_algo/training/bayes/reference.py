"""A sweep in plain NumPy: slow, dense and obvious. What `Chain` does is tested against it.

It takes the same random numbers, so that the two differ by rounding only. `Chain` and this share
nothing but the samplers of single numbers (`random`, `polya_gamma`), tested on their own.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.philox import philox, stream
from fm_algo.training.bayes.polya_gamma import draw_row, polya_gamma_mean
from fm_algo.training.bayes.random import BIAS, FEATURE, GROUP, gamma, normal

_WIDTH = 8
Float64Array = NDArray[np.float64]


def normals(count: int, seed: int, sweep: int, item: int) -> Float64Array:
    """Return the first normal numbers of a feature's stream, as `normal.fill_normal`."""
    whose = stream(seed, sweep, FEATURE, item)
    num_blocks = -(-count // (4 * _WIDTH)) * _WIDTH
    words = np.array([philox(np.uint64(block), whose) for block in range(num_blocks)], np.float64)
    radii = np.sqrt(-2 * np.log((words[:, ::2] + 0.5) / 2**32))  # (num_blocks, 2)
    angles = 2 * math.pi * words[:, 1::2] / 2**32
    numbers = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=2)
    batches = numbers.reshape(-1, _WIDTH, 4).transpose(0, 2, 1)  # eight blocks side by side
    return batches.ravel()[:count]


class ReferenceChain:
    """The same chain as `Chain`, on a dense matrix.

    Parameters
    ----------
    X : float64, shape (num_rows, feature_dim)
    target : float64, shape (num_rows,)
        Labels; of a classifier 0 and 1.
    is_classifier, draws, use_bias, use_linear : bool
    order : sequence of int
        The features that have rows, in the order of their updates.
    groups : int, shape (feature_dim,)
    V : float64, shape (feature_dim, num_factors)
        Factors to start from; weights and bias start at 0.
    bias_precision : float
        λ of the bias, whose prior mean is 0.
    weights : float64, shape (num_rows,), or None
        How many rows each row counts as; None means 1.
    precisions : tuple of float
        λ of weights and of factors, if nothing is drawn.
    """

    def __init__(
        self,
        X: Float64Array,
        target: Float64Array,
        *,
        is_classifier: bool,
        order: list[int],
        groups: NDArray[np.int32],
        V: Float64Array,
        seed: int,
        bias_precision: float,
        weights: Float64Array | None = None,
        precisions: tuple[float, float] = (1.0, 1.0),
        draws: bool = True,
        use_bias: bool = True,
        use_linear: bool = True,
    ) -> None:
        self.X, self.target, self.is_classifier = X, target, is_classifier
        self.order, self.groups, self.seed, self.bias_precision = (
            order,
            groups,
            seed,
            bias_precision,
        )
        self.weights = np.ones(len(X)) if weights is None else weights
        self.draws, self.use_bias, self.use_linear = draws, use_bias, use_linear
        self.w0, self.w, self.V = 0.0, np.zeros(X.shape[1]), V.copy()
        self.num_sweeps, self.alpha = 0, 1.0
        self._width = -(-V.shape[1] // _WIDTH) * _WIDTH
        num_groups, k = int(groups.max()) + 1, V.shape[1]
        self.mean, self.precision = (
            np.zeros((num_groups, k + 1)),
            np.ones((num_groups, k + 1)) * precisions[1],
        )
        self.precision[:, k] = precisions[0]

    def margin(self) -> Float64Array:
        """Margin of each row, (num_rows,): Rendle 2010, equation 1."""
        X, V = self.X, self.V
        pairwise = 0.5 * ((X @ V) ** 2 - X**2 @ V**2).sum(axis=1)
        margin: Float64Array = self.w0 + X @ self.w + pairwise
        return margin

    def sweep(self) -> None:
        """Draw everything once."""
        target, weight = self._augmented(self.margin())
        error = target - self.margin()
        if self.draws and not self.is_classifier:
            shape, rate = 0.5 * (1 + weight.sum()), 0.5 * (1 + float(weight @ error**2))
            self.alpha = gamma(shape, rate, stream(self.seed, self.num_sweeps, BIAS, 0))
        if self.use_bias:
            precision = self.alpha * weight.sum() + self.bias_precision
            change = (self.alpha * weight @ error - self.bias_precision * self.w0) / precision
            if self.draws:
                noise = normal(stream(self.seed, self.num_sweeps, BIAS, 1))
                change += noise / math.sqrt(precision)
            self.w0 += change
        self._draw_priors()
        for feature in self.order:
            self._update(feature, target, self.alpha * weight)
        self.num_sweeps += 1

    def _augmented(self, margin: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the targets and weights ω of the rows."""
        if not self.is_classifier:
            return self.target, self.weights
        omega = np.array(
            [
                draw_row(weight, m, self.seed, self.num_sweeps, row)
                if self.draws
                else weight * polya_gamma_mean(m)
                for row, (weight, m) in enumerate(
                    zip(self.weights.tolist(), margin.tolist(), strict=True)
                )
            ]
        )
        return self.weights * (self.target - 0.5) / omega, omega

    def _draw_priors(self) -> None:
        """Draw μ and λ of each group and number; see `hyper`."""
        if not self.draws:
            return
        seen = np.array(self.order)
        numbers = np.column_stack([self.V, self.w])[seen]
        groups, k = self.groups[seen], self.V.shape[1]
        for group in range(len(self.mean)):
            own = numbers[groups == group]
            n = len(own)
            for c in range(k + self.use_linear):
                total, squares = own[:, c].sum(), (own[:, c] ** 2).sum()
                item = group * (self._width + 1) + (self._width if c == k else c)
                rate = 0.5 * (1 + squares - total**2 / (n + 1))
                where = self.seed, self.num_sweeps, GROUP
                precision = gamma(0.5 * (1 + n), rate, stream(*where, 2 * item))
                noise = normal(stream(*where, 2 * item + 1))
                self.precision[group, c] = precision
                self.mean[group, c] = total / (n + 1) + noise / math.sqrt(precision * (n + 1))

    def _update(self, feature: int, target: Float64Array, precision: Float64Array) -> None:
        """Draw all numbers of a feature; see `feature_step`."""
        rows = np.flatnonzero(self.X[:, feature])
        x, k = self.X[rows, feature], self.V.shape[1]
        s = self.X[rows] @ self.V - np.outer(x, self.V[feature])
        H = x[:, np.newaxis] * np.column_stack([s, np.ones(len(rows))])
        error, rho2 = (target - self.margin())[rows], precision[rows]
        old = np.append(self.V[feature], self.w[feature])
        mean, prior = self.mean[self.groups[feature]], self.precision[self.groups[feature]]
        count = self._width + _WIDTH + (len(rows) if len(rows) <= k else 0)
        noise = normals(count, self.seed, self.num_sweeps, feature) * self.draws
        z = np.append(noise[:k], noise[self._width])
        if not self.use_linear:
            H, old, mean, prior, z = H[:, :k], old[:k], mean[:k], prior[:k], z[:k]
        if len(rows) <= k:
            new = self._by_rows(H, error, rho2, old, mean, prior, z, noise[self._width + _WIDTH :])
        else:
            new = self._by_numbers(H, error, rho2, old, mean, prior, z)
        self.V[feature] = new[:k]
        if self.use_linear:
            self.w[feature] = new[k]

    def _by_numbers(
        self,
        H: Float64Array,
        error: Float64Array,
        rho2: Float64Array,
        old: Float64Array,
        mean: Float64Array,
        prior: Float64Array,
        z: Float64Array,
    ) -> Float64Array:
        """Draw by the system of the feature's numbers, w first as in `Chain`."""
        order = np.roll(np.arange(len(old)), self.use_linear)
        P = np.diag(prior) + H.T @ (rho2[:, np.newaxis] * H)
        b = prior * mean + H.T @ (rho2 * (error + H @ old))
        L = np.linalg.cholesky(P[np.ix_(order, order)])
        y = np.linalg.solve(L, b[order]) + z[order]
        new = np.empty_like(old)
        new[order] = np.linalg.solve(L.T, y)
        return new

    @staticmethod
    def _by_rows(
        H: Float64Array,
        error: Float64Array,
        rho2: Float64Array,
        old: Float64Array,
        mean: Float64Array,
        prior: Float64Array,
        z: Float64Array,
        epsilon: Float64Array,
    ) -> Float64Array:
        """Draw by the system of the feature's rows: Matheron's rule."""
        first = mean + z / np.sqrt(prior)
        covariance = H @ np.diag(1 / prior) @ H.T + np.diag(1 / rho2)
        difference = error + H @ (old - first) - epsilon / np.sqrt(rho2)
        change = np.linalg.solve(covariance, difference)
        new: Float64Array = first + (H.T @ change) / prior
        return new
