"""``cmust ingest`` for ``spark-submit``, which runs files that end with .py; docs/data.md shows how.

spark-submit --master yarn spark_ingest.py nyc-taxi 'hdfs:///tlc/yellow_*.csv' --engine spark --to nyc.zarr.zip
"""

import sys

from cmust.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "ingest")
    main()
