"""Stages 1 and 2 of 8: US and CME options from Databento's files (DBN), straight to event rows."""

from feeds.dbn.source import DbnSource

__all__ = ["DbnSource"]
