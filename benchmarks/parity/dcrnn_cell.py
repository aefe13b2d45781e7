"""A cell of DCRNN beside the authors' own code, liyaguang/DCRNN, which is TensorFlow 1.

Their cell runs as it is; the few operations that it calls are carried out by PyTorch. Encoder and decoder around the
cells are TensorFlow's: the whole network is compared with the PyTorch port (``dcrnn``).
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from benchmarks.parity._compare import Once, compare
from benchmarks.parity._scipy import stand_in_for_scipy
from torch import Tensor, nn

from cmust.baselines.dcrnn import Cell, transitions

PUBLISHED = "liyaguang/DCRNN"


def parity(repo: Path) -> dict[str, float]:
    stand_in_for_scipy()
    small = _differences(nodes=5, inputs=3, width=4, walk=3)
    published = _differences(nodes=8, inputs=2, width=64, walk=2)
    return {
        "small cell, state": small[0],
        "small cell, gradients": small[1],
        "published sizes, state": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(nodes: int, inputs: int, width: int, walk: int) -> tuple[float, float]:
    weight = torch.rand(nodes, nodes)  # directed
    adjacency = torch.where(weight < 0.4, 0.0, weight).fill_diagonal_(1.0)
    gathered = (inputs + width) * (2 * walk + 1)
    variables = Variables(gathered, width)
    _stand_in_for_tensorflow(variables)
    sys.modules.pop("model.dcrnn_cell", None)
    theirs = importlib.import_module("model.dcrnn_cell").DCGRUCell(
        width, adjacency.numpy(), walk, nodes, filter_type="dual_random_walk"
    )
    ours, walks = Cell(inputs, width, walk), transitions(adjacency)
    x, state = torch.randn(3, nodes, inputs), torch.randn(3, nodes, width)

    def states() -> tuple[Tensor, Tensor]:
        _, after = theirs(Shaped(x.flatten(1)), Shaped(state.flatten(1)))
        return after.as_subclass(Tensor).unflatten(1, (nodes, width)), ours(x, state, walks)

    def translate(weights: Once) -> dict[str, Tensor]:
        copies = {}
        for kind in ("gates", "candidate"):
            copies[f"{kind}.mix.weight"] = weights.take(f"{kind}_weights").T
            copies[f"{kind}.mix.bias"] = weights.take(f"{kind}_biases")
        return copies

    return compare(variables, ours, translate, states)


class Variables(nn.Module):
    """The cell's variables by scope and name, as ``tf.get_variable`` gives them."""

    def __init__(self, gathered: int, width: int) -> None:
        super().__init__()
        for kind, outputs in (("gates", 2 * width), ("candidate", width)):
            self.register_parameter(f"{kind}_weights", nn.Parameter(torch.empty(gathered, outputs)))
            self.register_parameter(f"{kind}_biases", nn.Parameter(torch.empty(outputs)))
        self.scopes: list[str] = []

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self.scopes.append(name)
        yield
        self.scopes.pop()

    def get(self, name: str, shape: list[int], **_: object) -> Tensor:
        variable = self.get_parameter(f"{self.scopes[-1]}_{name}")
        assert list(variable.shape) == list(shape)
        return variable


class Shaped(Tensor):
    """A tensor that tells its shape as TensorFlow 1 does."""

    def get_shape(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(value=size) for size in self.shape]


def _stand_in_for_tensorflow(variables: Variables) -> None:
    tensorflow, contrib, rnn = (ModuleType(f"tensorflow{part}") for part in ("", ".contrib", ".contrib.rnn"))
    rnn.RNNCell = type("RNNCell", (), {"__init__": lambda self, _reuse=None: None})  # type: ignore[attr-defined]
    contrib.rnn, contrib.layers = rnn, SimpleNamespace(xavier_initializer=lambda: None)  # type: ignore[attr-defined]
    operations = {
        "contrib": contrib,
        "nn": SimpleNamespace(tanh=torch.tanh, sigmoid=torch.sigmoid, bias_add=torch.add),
        "get_variable": variables.get,
        "get_variable_scope": lambda: variables.scopes[-1],
        "variable_scope": variables.scope,
        "constant_initializer": lambda value, dtype: None,
        "SparseTensor": lambda places, data, shape: torch.sparse_coo_tensor(places.T, data, shape).to_dense(),
        "sparse_reorder": lambda matrix: matrix,
        "sparse_tensor_dense_matmul": torch.matmul,
        "matmul": torch.matmul,
        "reshape": lambda x, shape: x.reshape(tuple(shape)),
        "transpose": lambda x, perm: x.permute(perm),
        "concat": lambda parts, axis: torch.cat(parts, dim=axis),
        "expand_dims": lambda x, axis: x.unsqueeze(axis),
        "split": lambda value, num_or_size_splits, axis: value.chunk(num_or_size_splits, dim=axis),
    }
    for name, operation in operations.items():
        setattr(tensorflow, name, operation)
    for module in (tensorflow, contrib, rnn):
        sys.modules[module.__name__] = module
