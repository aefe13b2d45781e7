"""The one family of errors a user meets. Every message names what was found, where, and what to do."""


def reason(error: BaseException) -> str:
    """The first line of what another library says about ``error``, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class CmustError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with 2."""


class CityError(CmustError):
    """A city data set, or the arrays and tables it is made from, is not what it has to be."""


class IngestError(CmustError):
    """Raw records cannot be turned into a city."""


class ConfigError(CmustError):
    """A setting is unknown, out of range, or contradicts another."""


class RunError(CmustError):
    """A run folder is missing, damaged, busy, or does not fit the city it is used with."""


class BusyError(RunError):
    """A run folder is being written by another process."""
