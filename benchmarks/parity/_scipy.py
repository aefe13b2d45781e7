"""Dense matrices in place of SciPy's sparse ones, as far as the published DCRNNs use them."""

import sys
from types import ModuleType

import numpy as np


class Matrix:
    """Entries row by row; a transpose keeps their order, as SciPy's does."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values)
        self.row, self.col = self.values.nonzero()
        self.data, self.shape = self.values[self.row, self.col], self.values.shape

    @property
    def T(self) -> "Matrix":  # noqa: N802
        turned = Matrix(self.values.T)
        turned.row, turned.col, turned.data = self.col, self.row, self.data
        return turned

    def sum(self, axis: int) -> np.ndarray:
        return self.values.sum(axis)

    def dot(self, other: "Matrix") -> "Matrix":
        return Matrix(self.values @ other.values)

    def tocoo(self) -> "Matrix":
        return self


def stand_in_for_scipy() -> None:
    """Puts the module where an import finds it, unless SciPy was imported before."""
    scipy, sparse = ModuleType("scipy"), ModuleType("scipy.sparse")
    sparse.coo_matrix, sparse.diags, sparse.linalg = Matrix, lambda d: Matrix(np.diag(d)), None  # type: ignore[attr-defined]
    scipy.sparse = sparse  # type: ignore[attr-defined]
    for module in (scipy, sparse):
        sys.modules.setdefault(module.__name__, module)
