"""A trained model as files: the layout of ``model.json``, its checks, the model card, the hub, the exported graph."""

from cmust.bundle.card import render_card
from cmust.bundle.folder import find_model, read_model, write_model
from cmust.bundle.graph import export_graph, graph_inputs
from cmust.bundle.hub import fetch, push
from cmust.bundle.record import of_these_models, read_record
from cmust.bundle.weights import check_weights

__all__ = [
    "check_weights",
    "export_graph",
    "fetch",
    "find_model",
    "graph_inputs",
    "of_these_models",
    "push",
    "read_model",
    "read_record",
    "render_card",
    "write_model",
]
