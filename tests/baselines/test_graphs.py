"""The shared graph, against hand-worked distances and a slow loop."""

import math

import torch

from cmust.baselines.graphs import distances, gaussian_kernel


def test_a_degree_of_a_meridian_is_111_km() -> None:
    d = distances(torch.tensor([0.0, 0.0, 90.0]), torch.tensor([0.0, 1.0, 0.0]))
    assert d.diagonal().abs().max() == 0
    assert math.isclose(d[0, 1], 6371 * math.pi / 180, rel_tol=1e-9)
    assert math.isclose(d[0, 2], 6371 * math.pi / 2, rel_tol=1e-9)


def test_kernel_as_a_loop_makes_it() -> None:
    d = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, math.inf], [4.0, 2.0, 0.0]]).double()
    finite = [x for x in d.flatten().tolist() if math.isfinite(x)]
    mean = sum(finite) / len(finite)
    sigma = math.sqrt(sum((x - mean) ** 2 for x in finite) / (len(finite) - 1))
    kernel = gaussian_kernel(d, threshold=0.2)
    for i in range(3):
        for j in range(3):
            weight = math.exp(-((d[i, j].item() / sigma) ** 2))
            assert math.isclose(kernel[i, j].item(), weight if weight >= 0.2 else 0.0, rel_tol=1e-6)
    assert kernel[1, 2] == 0 and (kernel.diagonal() == 1).all()
