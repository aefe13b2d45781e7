"""As much of TensorFlow 1 as the published networks call, on torch, in double precision, run at once.

Authors' code in TensorFlow 1 runs on no Python of today. With this in the place of ``tensorflow`` it runs as it is:
its variables are random and recorded by name, so that they can be carried over. Only what it calls is here, and what
would not be what TensorFlow does (padding of larger kernels, dropout) is refused.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FLOAT = torch.float64


class Dimension(int):
    """A length; TensorFlow 1 gives it as ``.value``."""

    @property
    def value(self) -> int:
        return int(self)


class Shape(tuple):  # type: ignore[type-arg]
    """Lengths, all known."""

    def as_list(self) -> list[int]:
        return [int(length) for length in self]

    @property
    def ndims(self) -> int:
        return len(self)


class Eager(Tensor):
    """A tensor that also answers TensorFlow's questions."""

    name = "tensor"

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        return Shape(Dimension(length) for length in self.size())

    def get_shape(self) -> Shape:
        return self.shape


def tensor(values: Any) -> Eager:
    """Values for the published code."""
    return torch.as_tensor(values).as_subclass(Eager)


class TensorFlow(SimpleNamespace):
    """The module; ``variables`` by name in the order in which they were made, ``collections`` by name."""

    def __init__(self) -> None:
        self.variables: dict[str, Tensor] = {}
        self.collections: dict[str, list[Any]] = defaultdict(list)
        self.scopes: list[str] = []
        super().__init__(**OPERATIONS, **self.stateful())

    def made(self, name: str, shape: Any, low: float | None = None) -> Eager:
        """A new variable under a name that is free; normal, or uniform in ``low`` to ``low + 1``."""
        path, number = "/".join([*self.scopes, name]), 0
        while (full := f"{path}_{number}" if number else path) in self.variables:
            number += 1
        value = torch.randn([int(length) for length in shape], dtype=FLOAT)
        scale = 0.5 if value.dim() == 1 else (value.numel() // value.size(-1)) ** -0.5
        value = value * scale if low is None else value.uniform_(low, low + 1)
        self.variables[full] = value.detach().requires_grad_()
        return tensor(self.variables[full])

    def stateful(self) -> dict[str, Any]:
        """What makes variables or keeps collections."""

        def get_variable(name: str, shape: Any = None, initializer: Any = None, dtype: Any = None) -> Eager:
            assert "/".join([*self.scopes, name]) not in self.variables, f"{name} would be shared"
            return self.made(name, initializer.size() if shape is None else shape)

        def dense(x: Tensor, units: int, activation: Any = None, name: str = "dense", **_: Any) -> Tensor:
            with self.scope(name):
                kernel, bias = self.made("kernel", [x.size(-1), units]), self.made("bias", [units])
            y = x @ kernel + bias
            return y if activation is None else activation(y)

        def layer_norm(inputs: Tensor, begin_norm_axis: int, begin_params_axis: int, scope: Any) -> Tensor:
            assert begin_norm_axis == begin_params_axis == -1 and scope is None
            with self.scope("LayerNorm"):
                beta, gamma = self.made("beta", [inputs.size(-1)]), self.made("gamma", [inputs.size(-1)])
            mean, variance = moments(inputs, [-1], keep_dims=True)
            return (inputs - mean) / (variance + 1e-12).sqrt() * gamma + beta

        def variable(value: Tensor, dtype: Any, trainable: bool, name: str) -> Eager:
            return self.made(name, value.size())

        def average(of: Eager) -> Eager:
            return self.made(of.name, of.size(), low=0.5 if of.name == "variance" else None)

        return {
            "get_variable": get_variable,
            "Variable": variable,
            "variable_scope": self.scope,
            "get_variable_scope": lambda: self.scopes,
            "layers": SimpleNamespace(dense=dense),
            "contrib": SimpleNamespace(
                layers=SimpleNamespace(layer_norm=layer_norm, xavier_initializer=initializer),
                rnn=SimpleNamespace(RNNCell=RNNCell),
            ),
            "train": SimpleNamespace(ExponentialMovingAverage=lambda decay: SimpleNamespace(average=average)),
            "add_to_collection": lambda name, value: self.collections[name].append(value),
            "get_collection": lambda name: self.collections[name],
        }

    @contextmanager
    def scope(self, name: str | list[str]) -> Iterator[None]:
        """One further in, or the one that was asked for by ``get_variable_scope``."""
        before = self.scopes
        self.scopes = [*before, name] if isinstance(name, str) else name
        yield
        self.scopes = before


def moments(x: Tensor, axes: list[int], keep_dims: bool = False, name: str = "") -> tuple[Tensor, Tensor]:
    """Mean and variance, the latter of the population; their names tell which moving average is which."""
    mean, variance = x.mean(axes, keepdim=keep_dims), x.var(axes, correction=0, keepdim=keep_dims)
    mean.name, variance.name = "mean", "variance"
    return mean, variance


def conv2d(x: Tensor, kernel: Tensor, strides: list[int], padding: str) -> Tensor:
    """Images ``(B, H, W, C)``, kernel ``(h, w, C, D)``."""
    assert strides == [1, 1, 1, 1] and (padding == "VALID" or kernel.size()[:2] == (1, 1))
    return functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)).permute(0, 2, 3, 1)


def dropout(x: Tensor, keep_prob: float) -> Tensor:
    assert keep_prob == 1, "dropout is on"
    return x


def split(value: Tensor, num_or_size_splits: int, axis: int) -> list[Tensor]:
    assert value.size(axis) % num_or_size_splits == 0
    return list(value.chunk(num_or_size_splits, axis))


def cut(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """``tf.slice``; a size of -1 is all that is left."""
    for dim, (start, length) in enumerate(zip(begin, size, strict=True)):
        x = x.narrow(dim, start, x.size(dim) - start if length == -1 else length)
    return x


def one_hot(index: Tensor, depth: int) -> Tensor:
    return functional.one_hot(index.long(), depth).to(FLOAT)


def where(condition: Tensor, x: Any, y: Any) -> Tensor:
    return torch.where(condition, torch.as_tensor(x, dtype=FLOAT), torch.as_tensor(y, dtype=FLOAT))


def expand_dims(x: Tensor, axis: int | list[int]) -> Tensor:
    return x.unsqueeze(axis if isinstance(axis, int) else axis[0])


def matmul(a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
    return a @ (b.transpose(-1, -2) if transpose_b else b)


def assert_equal(a: int, b: int) -> None:
    assert a == b, f"{a} is not {b}"


def sparse(places: Any, values: Any, shape: Any) -> Tensor:
    """A sparse matrix, as a dense one."""
    return torch.sparse_coo_tensor(torch.as_tensor(places).T, torch.as_tensor(values), tuple(shape)).to_dense()


class RNNCell:
    """What recurrent cells derive from."""

    def __init__(self, _reuse: Any = None) -> None:
        assert _reuse is None


def initializer(*_: Any, **__: Any) -> Any:
    """Any initialiser: of its value only the shape counts, as variables are random."""
    return lambda shape: tensor(torch.zeros([int(length) for length in shape], dtype=FLOAT))


def nothing(*_: Any, **__: Any) -> None:
    """For summaries and updates."""


OPERATIONS: dict[str, Any] = {
    "float32": FLOAT,
    "int32": torch.int64,
    "bool": torch.bool,
    "zeros": lambda shape: tensor(torch.zeros([int(length) for length in shape], dtype=FLOAT)),
    "ones": lambda shape: tensor(torch.ones([int(length) for length in shape], dtype=FLOAT)),
    "zeros_like": torch.zeros_like,
    "shape": lambda x: x.shape,
    "reshape": lambda x, shape: x.reshape([int(length) for length in shape]),
    "transpose": lambda x, perm: x.permute(*perm),
    "concat": lambda parts, axis: torch.cat(list(parts), dim=axis),
    "split": split,
    "slice": cut,
    "tile": lambda x, times: x.repeat(*times),
    "expand_dims": expand_dims,
    "squeeze": lambda x, axis: x.squeeze(axis),
    "matmul": matmul,
    "SparseTensor": sparse,
    "sparse_reorder": lambda matrix: matrix,
    "sparse_tensor_dense_matmul": matmul,
    "multiply": lambda a, b: a * b,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "reduce_mean": torch.mean,
    "reduce_max": torch.max,
    "reduce_min": torch.min,
    "cast": lambda x, dtype: x.to(dtype),
    "is_nan": torch.isnan,
    "not_equal": lambda a, b: a != b,
    "where": where,
    "one_hot": one_hot,
    "identity": lambda x: x,
    "cond": lambda condition, yes, no: yes() if condition else no(),
    "no_op": nothing,
    "assert_equal": assert_equal,
    "control_dependencies": lambda _: nullcontext(),
    "name_scope": lambda _: nullcontext(),
    "glorot_uniform_initializer": initializer,
    "zeros_initializer": initializer,
    "ones_initializer": initializer,
    "truncated_normal_initializer": initializer,
    "constant_initializer": initializer,
    "summary": SimpleNamespace(scalar=nothing, histogram=nothing),
    "nn": SimpleNamespace(
        relu=functional.relu,
        tanh=torch.tanh,
        sigmoid=torch.sigmoid,
        softmax=lambda x, axis=-1: x.softmax(axis),
        conv2d=conv2d,
        bias_add=lambda x, bias: x + bias,
        moments=moments,
        batch_normalization=lambda x, mean, var, beta, gamma, eps: (x - mean) / (var + eps).sqrt() * gamma + beta,
        dropout=dropout,
        l2_loss=lambda x: x.square().sum() / 2,
    ),
}


def tensorflow() -> TensorFlow:
    """A fresh one, imported as ``tensorflow`` from now on."""
    module = TensorFlow()
    parts = {"tensorflow": module, "tensorflow.contrib": module.contrib, "tensorflow.contrib.rnn": module.contrib.rnn}
    sys.modules |= parts  # type: ignore[arg-type]
    return module
