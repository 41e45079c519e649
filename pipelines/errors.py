"""Errors a person can act on.

Every message says what happened and what to do next, in the user's words::

    AppError
    ├── InvalidInput       the request cannot be carried out as asked
    ├── ModelUnavailable   weights are missing, damaged or of another kind
    ├── OutOfMemory        the device is too small for the request
    └── StorageError       a library could not be read or written
        ├── NotFound       no book with that id
        └── Unreachable    the network is gone; what was to be done can be done later
"""


class AppError(Exception):
    """Base of all errors whose message is meant for the person at the screen."""


class InvalidInput(AppError):
    """The request cannot be carried out as asked; the message says what to change."""


class ModelUnavailable(AppError):
    """Weights are missing, damaged or of another kind; the message names the file."""


class OutOfMemory(AppError):
    """The device has too little memory for the request."""


class StorageError(AppError):
    """A library could not be read or written."""


class NotFound(StorageError):
    """No book with that id."""


class Unreachable(StorageError):
    """The other side of the network does not answer; trying again later is worth it."""
