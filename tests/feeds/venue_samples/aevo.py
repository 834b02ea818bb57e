"""Frames of Aevo."""

import json

from tests.feeds import aevo_frames
from tests.feeds.aevo_frames import entry, perpetual

IDS = aevo_frames.IDS
FRAMES = aevo_frames.FRAMES
BODIES = [json.dumps([entry()]).encode(), json.dumps([perpetual(), entry()]).encode()]
