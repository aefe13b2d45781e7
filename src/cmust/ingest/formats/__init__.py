"""Other people's formats: one small file per format; every import ends in :func:`assemble.assemble`.

Shapes: T time steps, N nodes, C channels, S windows. Nothing here unpickles anything: a pickle can run code.
"""

from cmust.ingest.formats.assemble import UNKNOWN, Imported, ImportSettings
from cmust.ingest.formats.basicts import import_basicts
from cmust.ingest.formats.libcity import import_libcity
from cmust.ingest.formats.libcity_export import export_libcity
from cmust.ingest.formats.missing import Missing
from cmust.ingest.formats.pems import import_pems
from cmust.ingest.formats.published_export import Timestamps, export_published
from cmust.ingest.formats.wide import import_wide

__all__ = [
    "UNKNOWN",
    "ImportSettings",
    "Imported",
    "Missing",
    "Timestamps",
    "export_libcity",
    "export_published",
    "import_basicts",
    "import_libcity",
    "import_pems",
    "import_wide",
]
