"""Stages 4 to 6 of 8: what can go wrong on a device.

KernelError
├── DeviceError     a device that is not there, or does not do what was asked
├── CapacityError   more rows than were allocated
└── LayoutError     an array whose shape or dtype is not the declared one
"""


class KernelError(Exception):
    """Anything that went wrong in kernels."""


class DeviceError(KernelError):
    """A device that is not there, or does not do what was asked."""


class CapacityError(KernelError):
    """More rows than were allocated."""


class LayoutError(KernelError):
    """An array whose shape or dtype is not the declared one."""
