"""The forward pass of one task as a ``torch.export`` program, for any number of windows and of places.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels.
"""

import io
import json
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from cmust.errors import CmustError, RunError, reason
from cmust.files import atomic_path
from cmust.model import Head, Inputs, Trunk, forecast
from cmust.prompts import NoPrompt

_SOURCE_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
_WINDOWS, _PLACES = 2, 3
"""Of the example that is traced: any two sizes above 1 that tell the axes apart."""


class ForecastGraph(nn.Module):
    """Trunk and head with every input an argument, the prompt too: nothing in it belongs to single places."""

    def __init__(self, trunk: Trunk, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        power = None if head.level is None else float(head.power)
        self.head = Head(trunk.config, NoPrompt(trunk.config.d_p), head.mean, head.std, power, head.spread)
        self.head.level = head.level

    def forward(
        self,
        values: Tensor,
        slot: Tensor,
        dow: Tensor,
        stamp: Tensor,
        place: Tensor,
        average: Tensor,
        average_ahead: Tensor,
        prompt: Tensor,
    ) -> Tensor:
        """The forecast ``(B, F, N, C)``; the arguments are those of :class:`cmust.model.Inputs` and the prompt."""
        inputs = Inputs(values, slot, dow, stamp, place, average, average_ahead)
        return forecast(self.trunk, self.head, inputs, prompt)


def graph_inputs(head: Head, inputs: Inputs) -> dict[str, Tensor]:
    """The arguments of an exported graph, by name: the inputs, and the head's prompt ``(1 or T, N, d_p)``."""
    prompt: Tensor = head.prompt().detach()
    return {**inputs._asdict(), "prompt": prompt.expand(-1, len(inputs.place), -1)}


def export_graph(trunk: Trunk, head: Head, path: Path | str) -> None:
    """Write the forward pass as a ``.pt2`` file; batch and number of nodes stay free.

    Notes of the traced source and the traced example are left out: the first name folders of this machine, the
    second would be a pickle.

    Args:
        trunk, head: of a task, in evaluation mode.
        path: of the file, replaced atomically.

    Raises:
        CmustError: the file cannot be written, or this PyTorch writes pickles.
        RunError: this PyTorch cannot trace the network.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise CmustError(f"cannot write {path}: an exported graph is a .pt2 file; choose such a name")
    batch, nodes = torch.export.Dim("batch", min=1), torch.export.Dim("nodes", min=1)
    over_both, over_batch, over_nodes = {0: batch, 2: nodes}, {0: batch}, {0: nodes}
    shapes = {
        "values": over_both,
        "slot": over_batch,
        "dow": over_batch,
        "stamp": over_batch,
        "place": over_nodes,
        "average": over_both,
        "average_ahead": over_both,
        "prompt": {1: nodes},
    }
    try:
        # As a forecast is made: for any number of nodes by the same operations, in fp32 whatever surrounds the export.
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            program = torch.export.export(
                ForecastGraph(trunk, head), (), _example(trunk, head), dynamic_shapes=shapes, strict=False
            )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"PyTorch {torch.__version__} cannot export this network: {reason(error)}") from error
    for node in program.graph.nodes:
        for note in _SOURCE_NOTES:
            node.meta.pop(note, None)
    program._example_inputs = None
    written = io.BytesIO()  # in memory first: on a full disk PyTorch's writer ends the process
    torch.export.save(program, written)
    with atomic_path(path) as temporary:
        temporary.write_bytes(written.getbuffer())
        _refuse_pickles(temporary)


def _example(trunk: Trunk, head: Head) -> dict[str, Tensor]:
    config, channels = trunk.config, len(head.mean)
    observed = (_WINDOWS, config.input_steps)
    prompt: Tensor = head.prompt()
    return {
        "values": torch.zeros(*observed, _PLACES, channels),
        "slot": torch.zeros(observed, dtype=torch.int64),
        "dow": torch.zeros(observed, dtype=torch.int64),
        "stamp": torch.zeros(*observed, 6),
        "place": torch.zeros(_PLACES, 2),
        "average": torch.zeros(*observed, _PLACES, channels),
        "average_ahead": torch.zeros(_WINDOWS, config.horizon, _PLACES, channels),
        "prompt": torch.zeros(prompt.shape[0], _PLACES, config.d_p),
    }


def _refuse_pickles(path: Path) -> None:
    """See that the archive holds plain bytes and JSON alone, as PyTorch writes it since 2.9."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        configs = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
        samples = [name for name in names if "/sample_inputs/" in name and archive.getinfo(name).file_size]
    payloads = [payload for config in configs for payload in config["config"].values()]
    if len(configs) < 2 or samples or any(payload["use_pickle"] for payload in payloads):
        raise CmustError(f"PyTorch {torch.__version__} writes pickles into .pt2 files; update it to export graphs")
