"""``python -m cmust``, for launchers such as ``torchrun -m``."""

from cmust.cli import main

main()
