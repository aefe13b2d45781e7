"""CMuST: continuous multi-task spatio-temporal learning for a whole city at once.

    import cmust
    city = cmust.open_city("city.zarr.zip")
    forecaster = cmust.fit(city, "runs/first")
    forecaster.predict(city, "taxi_pickup")
"""

__version__ = "0.1.0"

from cmust.city import City, Task, open_city  # noqa: E402
from cmust.demo import demo_city  # noqa: E402
from cmust.evaluation import evaluate  # noqa: E402
from cmust.fit import fit  # noqa: E402
from cmust.forecaster import Forecaster  # noqa: E402

__all__ = ["City", "Forecaster", "Task", "__version__", "demo_city", "evaluate", "fit", "open_city"]
