"""A cell of DCRNN against the authors' own TensorFlow code, which runs on the stand-in beside this file.

Encoder and decoder around the cells are TensorFlow's own: the whole network is compared with the PyTorch port
(``dcrnn``).
"""

import importlib
from pathlib import Path

import torch
from benchmarks.parity._tensorflow import TensorFlow, tensor, tensorflow
from benchmarks.parity._weights import Outputs, Weights, adjacency, compared, renamed
from torch import Tensor

from cmust.baselines.dcrnn import Cell
from cmust.baselines.graphs import transitions

PUBLISHED = "liyaguang/DCRNN"
NAMES = {
    f"dcgru_cell/{kind}/{theirs}": f"{kind}.mix.{ours}"
    for kind in ("gates", "candidate")
    for theirs, ours in (("weights", "weight"), ("biases", "bias"))
}


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones with more steps of diffusion."""
    tf = tensorflow()
    return differences(tf, "published sizes", nodes=8, inputs=2, width=64, walk=2) | differences(
        tf, "small", nodes=5, inputs=3, width=4, walk=3
    )


def differences(tf: TensorFlow, case: str, nodes: int, inputs: int, width: int, walk: int) -> dict[str, float]:
    graph = adjacency(nodes)
    cell = importlib.import_module("model.dcrnn_cell").DCGRUCell
    theirs = cell(width, graph.numpy(), walk, nodes, filter_type="dual_random_walk")
    ours, walks = Cell(inputs, width, walk), torch.stack(transitions(graph)).mT
    x, before = torch.randn(3, nodes, inputs), torch.randn(3, nodes, width)
    tf.variables.clear()
    with torch.enable_grad():
        _, after = theirs(tensor(x.flatten(1)), tensor(before.flatten(1)))

    def in_our_terms(weights: Weights) -> Weights:
        return renamed({name: w.T if w.dim() == 2 else w for name, w in weights.items()}, NAMES)

    def outputs() -> Outputs:
        published = after.as_subclass(Tensor).unflatten(1, (nodes, width))
        return {"state": (ours(x, before, walks), published)}

    return compared(case, tf.variables, ours, in_our_terms, outputs)
