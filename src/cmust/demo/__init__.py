"""The embedded, synthetic demo city: a documented simulator (`docs/demo.md`)."""

from cmust.demo.city import demo_city
from cmust.demo.process import DemoProcess, Flow, demo_process
from cmust.demo.trips import Trips

__all__ = ["DemoProcess", "Flow", "Trips", "demo_city", "demo_process"]
