#!/bin/sh
# Once: a model from the history of four counters by the road. Run it in this folder, with the counters' file beside it:
#     cp ../own_city/counters.csv .
# The readings are made up, and two weeks are little: have some months. docs/daily.md explains every line.
set -eu
cmust ingest sensors counters.csv --nodes sites.csv --to history.zarr.zip --force --name bikes --timezone Atlantic/Azores --interval 1h --node counter --time when --quantity bikes=bikes:sum --unit bikes='bikes / h' --kind bikes=count --start 2024-04-01 --stop 2024-04-14
cmust train history.zarr.zip runs/bikes --set model.input_steps=24 --set model.horizon=24
cmust evaluate runs/bikes history.zarr.zip
