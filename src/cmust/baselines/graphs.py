"""The graph shared by all systems that need one: a thresholded Gaussian kernel of distances (Li et al., ICLR 2018)."""

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
    sigma = distance[torch.isfinite(distance)].std()
    weight = torch.exp(-((distance / sigma.clamp_min(1e-12)) ** 2))
    return torch.where(weight < threshold, 0.0, weight).float()
