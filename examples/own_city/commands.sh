#!/bin/sh
# Your own city from two CSV files: rides with a start and an end, and counters that stand by the road.
# Run it in this folder. The records are made up. docs/data.md explains every line.
set -e
cmust ingest trips rides.csv --to own-city.zarr.zip --force --timezone Atlantic/Azores --interval 1h --start-time unlocked --start-lon from_lon --start-lat from_lat --end-time locked --end-lon to_lon --end-lat to_lat --prefix rides --box -24.56,43.17,-24.44,43.25 --grid 8x8 --start 2024-04-01 --stop 2024-04-15 --min-total 40 --report rides.json
cmust ingest sensors counters.csv --to own-city.zarr.zip --add-to own-city.zarr.zip --timezone Atlantic/Azores --interval 1h --node counter --time when --lon lon --lat lat --quantity bikes=bikes:sum --unit bikes=bikes --kind bikes=count --start 2024-04-01 --stop 2024-04-15
