"""A lock, for the few who share something between two workers."""

from threading import Lock

__all__ = ["Lock"]
