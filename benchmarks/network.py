"""A training step and a forecast of the network: how long, and how much memory, beside what else there is.

    python -m benchmarks.network                                     69, 206 and 1024 nodes, every preset
    python -m benchmarks.network --nodes 69 --rounds 3               a quick look
    python -m benchmarks.network --reference-repo DIR                beside a checkout of the published implementation
    python -m benchmarks.network --nodes 206 --profile               where a training step of ours goes, one thread
    python -m benchmarks.network --accelerator cuda --out gpu.json   on a GPU

Beside ours: the plain formulation of the same mathematics (``benchmarks.plain``), the published implementation where a
checkout is given, and the machine's limit: the floating point operations of the matrix products of the plain
formulation, divided by the speed of one large product measured in the same run. ``ours in two`` is a training step of
two processes that share the batch, each with half of the threads, as ``torchrun --nproc-per-node 2 -m cmust train`` has
them; its memory is that of both.

Every system is a process of its own; the processes take turns, round after round, so that what disturbs the machine
disturbs all alike. Results: median, least and most seconds, peak resident memory (of a GPU what PyTorch took of its
memory); benchmarks/results/network.json. No stored run is of a GPU: none was at hand.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.plain import plain_forecast
from torch.utils.flop_counter import FlopCounterMode

from cmust import __version__
from cmust.machine import describe_machine, has_fast_bf16
from cmust.memory import keep_freed_memory
from cmust.model import Head, Inputs, Trunk, forecast, model_config
from cmust.prompts import FreePrompt, SummaryPrompt
from cmust.rolling.losses import Ensemble
from cmust.training import make_fabric
from cmust.windows import ROWS_ON_A_GPU, ROWS_PER_PASS

RESULTS = Path(__file__).parent / "results" / "network.json"
SLOTS, STEPS, BATCH = 48, 12, 16
SHARED = "ours in two"
PRODUCT = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product that the machine's limit is measured by."""


def random_windows(windows: int, steps: int, nodes: int) -> Inputs:
    """So many windows of noise."""
    shape = (windows, steps, nodes, 1)
    return Inputs(
        values=torch.rand(shape) * 100,
        slot=torch.randint(SLOTS, (windows, steps)),
        dow=torch.randint(7, (windows, steps)),
        stamp=torch.rand(windows, steps, 6),
        place=torch.randn(nodes, 2),
        average=torch.rand(shape) * 100,
        average_ahead=torch.rand(shape) * 100,
    )


def batch(nodes: int) -> tuple[Inputs, torch.Tensor]:
    """A random batch and its truth, the same in every process."""
    torch.manual_seed(0)
    return random_windows(BATCH, STEPS, nodes), torch.rand(BATCH, STEPS, nodes, 1) * 100


Predict = Callable[[slice], torch.Tensor]  # forecasts these windows of the batch


def some(inputs: Inputs, windows: slice) -> Inputs:
    """These windows of a batch."""
    return Inputs(*(part if name == "place" else part[windows] for name, part in inputs._asdict().items()))


def ours_or_plain(system: str, preset: str, nodes: int) -> tuple[Predict, list[torch.nn.Module]]:
    """What forecasts windows of the batch, and the modules with its weights."""
    config = model_config(preset)
    trunk = Trunk(config, SLOTS, (1,))
    if config.prompt == "free":
        prompt: torch.nn.Module = FreePrompt(torch.randn(STEPS, nodes, config.d_p))
    else:
        prompt = SummaryPrompt(torch.rand(nodes, 64), config.d_p)
    head = Head(config, prompt, torch.tensor([50.0]), torch.tensor([30.0]))
    inputs, _ = batch(nodes)
    function = {"ours": forecast, "plain": plain_forecast}[system]
    return lambda windows: function(trunk, head, some(inputs, windows)), [trunk, head]


def published(folder: str, nodes: int) -> tuple[Predict, list[torch.nn.Module]]:
    """The published network of a checkout, with its published sizes."""
    sys.path.insert(0, folder)
    from model.models import CMuST  # type: ignore[import-not-found]  # of the checkout

    network = CMuST(nodes, d_t=60, self_atten_dim=168, cross_atten_dim=24)
    torch.nn.init.normal_(network.prompt)
    inputs, _ = batch(nodes)
    clock = torch.stack((inputs.slot / SLOTS, inputs.dow.float()), dim=-1)
    by_step = torch.cat((clock, inputs.stamp), dim=-1)[:, :, None].expand(-1, -1, nodes, -1)
    place = inputs.place.expand(BATCH, STEPS, nodes, 2)
    x = torch.cat(((inputs.values - 50) / 30, by_step[..., :2], place, by_step[..., 2:]), dim=-1)
    return lambda windows: network(x[windows]) * 30 + 50, [network]


def worker(job: dict[str, Any]) -> None:
    """Measure on demand: a line on standard input asks for a turn, an empty one for the memory and the end."""
    torch.set_num_threads(job["threads"])
    torch.set_default_device(job["accelerator"])
    if job["system"] in ("ours", SHARED):
        keep_freed_memory()  # as the command line does
    before = peak_gib()
    turn = product(job) if job["system"] == "limit" else network_turn(job)
    first = int(os.environ.get("RANK", 0)) == 0  # of several processes one is told, and tells
    while told(sys.stdin.readline().strip() if first else ""):
        began = time.perf_counter()
        turn()
        if job["accelerator"] == "cuda":
            torch.cuda.synchronize()
        if first:
            print(json.dumps(time.perf_counter() - began), flush=True)
    memory = {"peak_gib": of_all(peak_gib()), "start_gib": of_all(before)}
    if job["accelerator"] == "cuda":
        memory = {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2), "start_gib": 0.0}
    if first:
        print(json.dumps(memory), flush=True)


def told(word: str) -> str:
    """What the first of several processes was told, to all of them."""
    if not torch.distributed.is_initialized():
        return word
    words = [word]
    torch.distributed.broadcast_object_list(words)
    return words[0]


def of_all(amount: float) -> float:
    """The sum over the processes."""
    if not torch.distributed.is_initialized():
        return amount
    whole = torch.tensor(amount)
    torch.distributed.all_reduce(whole)
    return round(float(whole), 2)


def peak_gib() -> float:
    """The most memory this process ever held. (``getrusage`` tells of the process that started it too.)"""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 2**20, 2)


def network_turn(job: dict[str, Any]) -> Callable[[], Any]:
    """A training step or a forecast."""
    if job["system"] == SHARED:
        return shared_turn(job)
    if job["system"] == "published":
        predict, modules = published(job["repo"], job["nodes"])
    else:
        predict, modules = ours_or_plain(job["system"], job["preset"], job["nodes"])
    for module in modules:
        module.to(job["accelerator"])  # some buffers are made on the CPU everywhere
    _, truth = batch(job["nodes"])
    weights = [weight for module in modules for weight in module.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-3, weight_decay=3e-4)
    autocast = torch.autocast(job["accelerator"], torch.bfloat16, enabled=job["precision"] == "bf16")
    # Ours sends a batch through the network in parts, as the trainer and the forecaster do.
    rows = ROWS_PER_PASS if job["accelerator"] == "cpu" else ROWS_ON_A_GPU
    size = max(1, rows // (STEPS * job["nodes"])) if job["system"] == "ours" else BATCH
    parts = [slice(first, first + size) for first in range(0, BATCH, size)]

    def train() -> None:
        optimizer.zero_grad()
        for part in parts:
            with autocast:
                loss = (predict(part) - truth[part]).abs().sum() / truth.numel()
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def infer() -> None:
        with torch.no_grad(), autocast:
            for part in parts:
                predict(part)

    for module in modules:
        module.train(job["mode"] == "train")
    return train if job["mode"] == "train" else infer


def shared_turn(job: dict[str, Any]) -> Callable[[], Any]:
    """A training step of one of several processes, through Fabric as the trainer goes."""
    fabric = make_fabric({"bf16": "bf16-mixed", "fp32": "32-true"}[job["precision"]], "cpu", "auto")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric.launch()
    _, modules = ours_or_plain("ours", job["preset"], job["nodes"])
    inputs, truth = batch(job["nodes"])
    optimizer = torch.optim.Adam([w for module in modules for w in module.parameters()], lr=1e-3, weight_decay=3e-4)
    network, optimizer = fabric.setup(Ensemble(modules[0], {"task": modules[1]}), optimizer)
    network.train()
    mine = torch.arange(BATCH)[fabric.global_rank :: fabric.world_size]
    parts = mine.split(max(1, ROWS_PER_PASS // (STEPS * job["nodes"])))

    def train() -> None:
        optimizer.zero_grad()
        for index, part in enumerate(parts):
            with fabric.no_backward_sync(network, enabled=index + 1 < len(parts)):
                made = network("task", lambda trunk, head, part=part: forecast(trunk, head, some(inputs, part)))
                fabric.backward((made - truth[part]).abs().sum() / truth.numel() * fabric.world_size)
        optimizer.step()

    return train


def profile(preset: str, nodes: int, precision: str) -> None:
    """Print the operations of one training step that take most, with their share of its processor time."""
    torch.set_num_threads(1)
    job = {"system": "ours", "preset": preset, "nodes": nodes, "precision": precision}
    job |= {"mode": "train", "accelerator": "cpu"}
    turn = network_turn(job)
    turn()  # warms up
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        turn()
    spent = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    whole = sum(spent.values())
    print(f"{preset}, {nodes} nodes, {precision}: a step takes {whole / 1e6:.2f} s of one thread")
    for name, microseconds in sorted(spent.items(), key=lambda item: -item[1])[:16]:
        print(f"{microseconds / whole:6.1%}  {name}")


def product(job: dict[str, Any]) -> Callable[[], Any]:
    """One large matrix product."""
    dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
    size = PRODUCT[job["accelerator"]]
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return lambda: a @ b


def operations(preset: str, nodes: int, mode: str) -> int:
    """Floating point operations of the plain formulation's matrix products. Linear in the batch: counted for all."""
    predict, modules = ours_or_plain("plain", preset, nodes)
    for module in modules:
        module.train(mode == "train")
    with FlopCounterMode(display=False) as counter:
        if mode == "train":
            predict(slice(BATCH)).sum().backward()
        else:
            with torch.no_grad():
                predict(slice(BATCH))
    return counter.get_total_flops()


class Worker:
    """A process that measures one system."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.seconds: list[float] = []
        several = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"] * (job["system"] == SHARED)
        command = [sys.executable, "-m", *several, "benchmarks.network", "--worker", json.dumps(job)]
        environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"])}
        if job["system"] == SHARED:  # what Fabric and DDP say of themselves
            environment |= {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def turn(self, *, counts: bool) -> None:
        """One measurement; the first ones warm up and do not count."""
        seconds = self._ask("go")
        if counts and seconds is not None:
            self.seconds.append(seconds)

    def finish(self) -> dict[str, Any]:
        """All that was measured; ``died`` where the process did (of too little memory)."""
        memory = self._ask("")
        with suppress(BrokenPipeError):  # it died, and what it was asked last is written once more
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        result = {key: self.job[key] for key in ("system", "preset", "nodes", "precision", "mode")}
        if memory is None or not self.seconds:
            return {**result, "died": True}
        times = {"median": median(self.seconds), "least": min(self.seconds), "most": max(self.seconds)}
        return {**result, **{key: round(value, 4) for key, value in times.items()}, **memory}

    def _ask(self, word: str) -> Any:
        try:
            self._process.stdin.write(word + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
            return json.loads(self._process.stdout.readline())  # type: ignore[union-attr]
        except (BrokenPipeError, ValueError):
            return None


def jobs(arguments: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Groups of systems that take turns."""
    for nodes in arguments.nodes:
        for preset in arguments.presets:
            for precision in arguments.precisions:
                for mode in ("train", "infer"):
                    shared = {
                        "preset": preset,
                        "nodes": nodes,
                        "precision": precision,
                        "mode": mode,
                        "threads": arguments.threads,
                        "accelerator": arguments.accelerator,
                    }
                    group = [{"system": system, **shared} for system in ("ours", "plain", "limit")]
                    if mode == "train" and arguments.threads > 1 and arguments.accelerator == "cpu":
                        group.insert(1, {"system": SHARED, **shared, "threads": arguments.threads // 2})
                    if arguments.reference_repo and preset == "reference":
                        # it computes in fp32 only: measured beside bf16 too, for the ratio
                        group.append({"system": "published", "repo": str(arguments.reference_repo), **shared})
                        group[-1]["precision"] = "fp32"
                    yield group


def measure(group: list[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Let the systems of a group take turns; then the limit in seconds and the ratios to ours."""
    workers = [Worker(job) for job in group]
    for number in range(rounds + 1):
        for each in workers:
            each.turn(counts=number > 0)
    results = [each.finish() for each in workers]
    limit = next(result for result in results if result["system"] == "limit")
    if "died" not in limit:
        speed = 2 * PRODUCT[group[0]["accelerator"]] ** 3 / limit["median"]
        limit["gflop_per_second"] = round(speed / 1e9)
        limit["median"] = round(operations(group[0]["preset"], group[0]["nodes"], group[0]["mode"]) / speed, 4)
        for key in ("least", "most", "peak_gib", "start_gib"):
            del limit[key]
    ours = next(result for result in results if result["system"] == "ours")
    for result in results:
        if "died" not in result and "died" not in ours:
            result["times_ours"] = round(result["median"] / ours["median"], 2)
    return results


def line(result: dict[str, Any]) -> str:
    """A row of the printed table."""
    cells = [result["preset"], result["nodes"], result["precision"], result["mode"], result["system"]]
    if "died" in result:
        return " | ".join(str(cell) for cell in [*cells, "out of memory", "", "", ""])
    spread = f"{result['least']:.3f} to {result['most']:.3f}" if "least" in result else ""
    memory = result.get("peak_gib", "")
    return " | ".join(
        str(cell) for cell in [*cells, f"{result['median']:.3f}", spread, result.get("times_ours", ""), memory]
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[69, 206, 1024])
    parser.add_argument("--presets", nargs="+", default=["reference", "paper", "tuned"])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), help="bf16 too where the machine has it")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each system")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--accelerator", choices=tuple(PRODUCT), default="cpu")
    parser.add_argument("--reference-repo", type=Path, help="a checkout of the published implementation")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--note", default="", help="about the machine, for the results")
    parser.add_argument(
        "--profile", action="store_true", help="only where a training step of each preset and size goes"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(json.loads(arguments.worker))
        return
    arguments.precisions = arguments.precisions or ["fp32", *(["bf16"] if has_fast_bf16(arguments.accelerator) else [])]
    if arguments.profile and arguments.accelerator != "cpu":
        parser.error("--profile is of a CPU")
    if arguments.profile:
        for nodes in arguments.nodes:
            for preset in arguments.presets:
                for precision in arguments.precisions:
                    profile(preset, nodes, precision)
        return
    record: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.network", *sys.argv[1:]]),
        "machine": describe_machine(torch.device(arguments.accelerator)),
        "note": arguments.note,
        "versions": {"cmust": __version__, "torch": torch.__version__},
        "batch": BATCH,
        "rounds": arguments.rounds,
        "results": [],
    }
    print("preset | nodes | precision | mode | system | seconds | spread | times ours | peak GiB")
    print("|".join(["---"] * 9))
    for group in jobs(arguments):
        for result in measure(group, arguments.rounds):
            record["results"].append(result)
            print(line(result), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
