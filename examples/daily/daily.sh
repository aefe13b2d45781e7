#!/bin/sh
# Every night: today's 24 hours (today where the counters are), forecast from the readings up to midnight, in forecasts/DATE.csv.
# The line for `crontab -e`, five past their midnight (a failure leaves yesterday's files alone, says why and is mailed by cron):
#     5 0 * * * cd /srv/bikes && PATH=/srv/bikes/.venv/bin:$PATH ./daily.sh
# Another day than today: ./daily.sh 2024-04-14
set -eu
day=${1:-$(TZ=Atlantic/Azores date +%F)}
since=$(date -d "$day - 3 days" +%F)
mkdir -p forecasts
cmust ingest sensors counters.csv --nodes sites.csv --to recent.zarr.zip --force --name bikes --timezone Atlantic/Azores --interval 1h --node counter --time when --quantity bikes=bikes:sum --unit bikes='bikes / h' --kind bikes=count --start "$since" --stop "$day"
cmust forecast runs/bikes recent.zarr.zip --at "$day" --out "forecasts/$day.csv"
