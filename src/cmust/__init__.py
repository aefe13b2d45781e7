"""CMuST: continuous multi-task spatio-temporal learning for a whole city at once.

import cmust
city = cmust.open_city("city.zarr.zip")
forecaster = cmust.fit(city, "runs/first")
forecaster.predict(city, "taxi_pickup")
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the names below need (PyTorch above all) is imported when they are first used, so that `cmust --help` is quick.
if TYPE_CHECKING:
    from cmust.city import City, Task, open_city
    from cmust.demo import demo_city
    from cmust.evaluation import evaluate
    from cmust.fit import fit
    from cmust.forecaster import Forecaster

__all__ = ["City", "Forecaster", "Task", "__version__", "demo_city", "evaluate", "fit", "open_city"]

_HOMES = {
    "City": "cmust.city",
    "Forecaster": "cmust.forecaster",
    "Task": "cmust.city",
    "demo_city": "cmust.demo",
    "evaluate": "cmust.evaluation",
    "fit": "cmust.fit",
    "open_city": "cmust.city",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmust' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule binds it to its package by name; `cmust.fit` is the function all the same.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
