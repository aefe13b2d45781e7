#!/bin/sh
# A forecasting system of one's own (fading.py) beside others and CMuST in the paper's Table 1. Run it in a folder of its own;
# with the budget smoke it takes a minute and only tells that everything runs: 'minutes 5' gives results. The city is the demo
# city (synthetic), so that it needs no data; docs/baselines.md explains what such a module has to have.
set -eu
PYTHONPATH="$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
cmust demo city.zarr.zip --force --weeks 4 --places 20
cmust experiment table1 city.zarr.zip results/table1 --budget smoke --systems naive,stid,own_system.fading,cmust_tuned
