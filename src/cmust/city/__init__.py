"""City data sets: labelled tasks in local wall-clock time, where missing is NaN and zero is data."""

from cmust.city.city import City, check_is_city
from cmust.city.clock import nonexistent_times
from cmust.city.store import open_city
from cmust.city.task import Covariate, Task

__all__ = ["City", "Covariate", "Task", "check_is_city", "nonexistent_times", "open_city"]
