"""CMuST: continuous multi-task spatio-temporal learning for a whole city at once.

import cmust
city = cmust.open_city("city.zarr.zip")
forecaster = cmust.fit(city, "runs/first")
forecaster.predict(city, "taxi_pickup")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the names below need (PyTorch above all) is imported when they are first used, so that `cmust --help` is quick.
if TYPE_CHECKING:
    from cmust.backtesting import backtest
    from cmust.calibration import calibrate
    from cmust.city import City, Task, open_city
    from cmust.continual.adapt import adapt
    from cmust.continual.update import update
    from cmust.demo import demo_city
    from cmust.evaluation import evaluate
    from cmust.fitting import fit
    from cmust.forecaster import Forecaster
    from cmust.model import record_attention

__all__ = [
    "City",
    "Forecaster",
    "Task",
    "__version__",
    "adapt",
    "backtest",
    "calibrate",
    "demo_city",
    "evaluate",
    "fit",
    "open_city",
    "record_attention",
    "update",
]

_HOMES = {
    "City": "cmust.city",
    "Forecaster": "cmust.forecaster",
    "Task": "cmust.city",
    "adapt": "cmust.continual.adapt",
    "backtest": "cmust.backtesting",
    "calibrate": "cmust.calibration",
    "demo_city": "cmust.demo",
    "evaluate": "cmust.evaluation",
    "fit": "cmust.fitting",
    "open_city": "cmust.city",
    "record_attention": "cmust.model",
    "update": "cmust.continual.update",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmust' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
