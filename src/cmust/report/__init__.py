"""The report of a run: one offline HTML page, and its score table for the terminal and for documents."""

from cmust.report.page import write_report

__all__ = ["write_report"]
