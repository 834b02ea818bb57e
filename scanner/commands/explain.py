"""Stage 7 of 8: `scanner explain ALERT_ID`: why an alert was sent, from the alerts of a run."""

from pathlib import Path

import msgspec

from scanner.alert import Alert, decode, explain
from scanner.commands.arguments import write_line
from scanner.commands.live import ALERTS_NAME
from scanner.errors import InputError


def explain_alert(alert_id: str, source: Path) -> int:
    """Print every message of one alert, in words.

    Args:
        alert_id: the id, or the first characters of it.
        source: JSON lines file of alerts, or the folder of a recording that has one.

    Raises:
        InputError: there is no such file, or no alert, or more than one, with that id.
    """
    file = source / ALERTS_NAME if source.is_dir() else source
    if not file.is_file():
        raise InputError(f"{file}: does not exist, expected alerts as JSON lines")
    messages: dict[str, list[Alert]] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if b'"id":"' + alert_id.encode() not in line:
                continue
            try:
                alert = decode(line)
            except msgspec.DecodeError as error:
                raise InputError(f"{file}: line {number}: {error}, expected an alert") from error
            if alert.id.startswith(alert_id):
                messages.setdefault(alert.id, []).append(alert)
    if len(messages) != 1:
        raise InputError(f"{file}: {len(messages)} alerts begin with {alert_id!r}, expected one")
    for alert in next(iter(messages.values())):
        write_line(explain(alert))
    return 0
