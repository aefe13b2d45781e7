"""The graph of all systems that need one, a thresholded Gaussian kernel of distances (Li et al., ICLR 2018), and what
they make of it.

In a matrix ``(N, N)`` entry (i, j) belongs to the edge from node i to node j.
"""

import torch
from torch import Tensor

EARTH_KM = 6371.0
THRESHOLD = 0.1


def distances(lon: Tensor, lat: Tensor) -> Tensor:
    """Great-circle distances in km, ``(N, N)``, of places in degrees, each ``(N,)``."""
    x, y = torch.deg2rad(lon.double()), torch.deg2rad(lat.double())
    half = torch.sin((y[:, None] - y) / 2) ** 2
    half = half + torch.cos(y[:, None]) * torch.cos(y) * torch.sin((x[:, None] - x) / 2) ** 2
    return 2 * EARTH_KM * torch.asin(half.clamp(0, 1).sqrt())


def gaussian_kernel(distance: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """``exp(-(d / sigma)^2)``, 0 where it is below the threshold; ``(N, N)`` float32.

    Args:
        distance: ``(N, N)``, of coordinates or along roads; infinite where there is no way.
        threshold: of the weight.
    """
    sigma = distance[torch.isfinite(distance)].std() if len(distance) > 1 else distance.new_ones(())
    weight = torch.exp(-((distance / sigma.clamp_min(1e-12)) ** 2))
    return torch.where(weight < threshold, 0.0, weight).float()


def transitions(adjacency: Tensor) -> list[Tensor]:
    """Random walks along the edges and against them, ``(..., N, N)`` each: probabilities, rows sum to one."""
    return [edges / edges.sum(-1, keepdim=True) for edges in (adjacency, adjacency.mT)]


def laplacian(edges: Tensor, normalised: bool) -> Tensor:
    """The degrees less the edges, ``(N, N)`` float64; normalised it is divided by the roots of both ends' degrees.

    A node without edges has an empty row.
    """
    edges = edges.double()
    degree = edges.sum(1)
    root = torch.where(degree > 0, degree, 1.0).sqrt()
    found = degree.diag() - edges
    return found / (root[:, None] * root) if normalised else found


def chebyshev(graph: Tensor, count: int) -> Tensor:
    """``T_0 = 1``, ``T_1 = graph``, ``T_k = 2 graph T_{k-1} - T_{k-2}``; ``(count, N, N)``, two or more."""
    terms = [torch.eye(len(graph), dtype=graph.dtype, device=graph.device), graph]
    while len(terms) < count:
        terms.append(2 * graph @ terms[-1] - terms[-2])
    return torch.stack(terms)


def polynomials(adjacency: Tensor, count: int, normalised: bool) -> Tensor:
    """Chebyshev polynomials of the Laplacian, scaled to eigenvalues up to 1: ``(count, N, N)``; no self-loops."""
    found = laplacian(adjacency - adjacency.diagonal().diag(), normalised)
    largest = torch.linalg.eigvals(found).real.max().clamp_min(1e-12)
    one = torch.eye(len(found), dtype=found.dtype)
    return chebyshev(2 * found / largest - one, count).to(adjacency.dtype)
