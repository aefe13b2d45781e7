"""Fits a tiny city under whatever launched it; started by ``torchrun`` in the tests."""

import json
import sys
from pathlib import Path

import torch

from tests.rolling.tiny import small_city, tiny_fit

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    for _ in range(2):  # the second finds it finished
        tiny_fit(folder, small_city("trips", "visits"), **settings)
