"""Tests against the real service; outages are on purpose and need no log."""

import logging

logging.disable(logging.CRITICAL)
