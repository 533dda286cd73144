"""Errors a user can act on: the CLI prints them as one line and exits with 2; all else is a bug and a traceback."""


class LisaError(Exception):
    """A problem the user can mend; the message says what is wrong and what to do next, in one line."""


class ConfigError(LisaError):
    """A setting is missing, out of range or contradicts another one."""


class DataError(LisaError):
    """A dataset, an image or an annotation cannot be used."""

    def __init__(self, message: str, kind: str = "annotation") -> None:
        super().__init__(message)
        self.kind = kind
        """What is broken, as `lisa data check` groups faults: one of `lisa_core.inspection.faults.KINDS`."""


class PluginError(LisaError):
    """A plugin is missing, broken or clashes with another one."""


class CheckpointError(LisaError):
    """A checkpoint cannot be read, rebuilt or written."""
