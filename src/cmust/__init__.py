"""CMuST: continuous multi-task spatio-temporal learning for a whole city at once."""

__version__ = "0.1.0"
