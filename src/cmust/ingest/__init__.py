"""From raw records to a :class:`cmust.city.City`.

Needs the extra ``cmust[ingest]``; on Spark ``cmust[spark]``. Nothing heavy is imported until it is used.
"""
