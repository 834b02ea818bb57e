"""An alert book and its scans, fresh for every test."""

import pytest

from tests.scanner.scans import LISTINGS, Scans, book_of


@pytest.fixture
def book():
    return book_of()


@pytest.fixture
def scans():
    return Scans(len(LISTINGS))
