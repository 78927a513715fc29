"""Every error that a user can meet, in one tree.

    LatentscapeError
    ├── UserError            exit status 2: something asked for or given is not right
    │   ├── ConfigError      a setting out of its range, of the wrong type, or unknown
    │   ├── DataError        data that is missing, damaged or not what was said
    │   ├── RunError         a run folder that is missing, damaged, in use or in the way
    │   └── AbilityError     a model asked for what it cannot do
    └── RunFailed            exit status 1: the request was right, the run did not end well
        ├── Diverged         a loss became NaN or infinite
        ├── DiskFull         no space left where the run writes
        └── OutOfMemory      the device's memory does not hold the batch

A message is one sentence that says which thing must be what, what was found, and what to do.
"""


class LatentscapeError(Exception):
    """Root of all errors meant for a user; `exit_status` is the command line's answer."""

    exit_status = 1


class UserError(LatentscapeError):
    """Bad usage or bad input."""

    exit_status = 2


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(UserError):
    """Data cannot be found, read or used."""


class RunError(UserError):
    """A run folder is missing, damaged, in use, or already there."""


class AbilityError(UserError):
    """A model was asked for something it cannot do."""


class RunFailed(LatentscapeError):
    """The request was right, but the run could not end well."""


class Diverged(RunFailed):
    """A loss became NaN or infinite; nothing was stepped with it."""


class DiskFull(RunFailed):
    """No space is left on the disk that is written to."""


class OutOfMemory(RunFailed):
    """The device's memory does not hold what was asked."""
