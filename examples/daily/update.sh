#!/bin/sh
# Every Sunday night: the model goes on with the readings that have arrived since, in runs/bikes.
# The line for `crontab -e`, before that night's forecast:
#     0 0 * * 0 cd /srv/bikes && PATH=/srv/bikes/.venv/bin:$PATH ./update.sh
# Up to another day than today: ./update.sh 2024-04-15
set -eu
day=${1:-$(TZ=Atlantic/Azores date +%F)}
cmust ingest sensors counters.csv --nodes sites.csv --to grown.zarr.zip --force --name bikes --timezone Atlantic/Azores --interval 1h --node counter --time when --quantity bikes=bikes:sum --unit bikes='bikes / h' --kind bikes=count --start 2024-04-01 --stop "$day"
cmust update runs/bikes --city grown.zarr.zip
