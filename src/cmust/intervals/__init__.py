"""Calibrated intervals: conformal, per horizon and node group, adapting as truth arrives (docs/forecasting.md)."""
