"""The command line ``cmust``: parse, call, print. Slow imports wait for the command that needs them."""

from cmust.cli.app import app, main

__all__ = ["app", "main"]
