"""Frames of Thalex."""

import json

from tests.feeds import thalex_frames
from tests.feeds.thalex_frames import entry, future, perpetual

IDS = thalex_frames.IDS
FRAMES = thalex_frames.FRAMES
BODIES = [json.dumps({"result": [entry(), perpetual(), future()]}).encode()]
