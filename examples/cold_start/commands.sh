#!/bin/sh
# A cold start: a network that knows three tasks of a city learns a fourth from its first week, without forgetting a bit of
# the others. Run it in a folder of its own; some minutes on two cores. The city is the demo city (synthetic), so that it needs
# no data; docs/continual.md explains every line.
set -eu
cmust demo city.zarr.zip --force --weeks 4 --places 20
# The three tasks that are there already; ten epochs for the first of them are few, but will do here.
cmust train city.zarr.zip runs/city --tasks crowd_in,crowd_out,taxi_pickup --set training.start_epochs=10
# The fourth: its first week is history, the three weeks after it are the test. Beside it the same network on that week alone.
cmust adapt runs/city --city city.zarr.zip --task taxi_dropoff --until 2024-04-01 --compare
cmust versions runs/city
cmust forecast runs/city city.zarr.zip --task taxi_dropoff --at 2024-04-01T08:00 --out first.csv
# Weeks later: with the new data, what is better than before is kept, task by task.
cmust update runs/city --city city.zarr.zip --tasks taxi_dropoff
cmust report runs/city
