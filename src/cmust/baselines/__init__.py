"""Other systems, one file each, trained by the same epoch loop on the same windows and metrics."""
