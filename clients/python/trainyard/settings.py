"""What a user keeps with `trainyard configure`: a file of the form

    [defaults]
    group = mygroup

in $TRAINYARD_CONFIG_DIR, else $XDG_CONFIG_HOME/trainyard, else ~/.config/trainyard. The environment wins over it."""
from __future__ import annotations

import os
from dataclasses import dataclass, fields

from trainyard.connection import log


@dataclass(frozen=True)
class Defaults:
    """Each is None when neither the environment (TRAINYARD_GROUP, ...) nor the file says it."""

    group: str | None = None
    workspace: str | None = None
    experiment: str | None = None
    controller: str | None = None  # host:port
    ca: str | None = None          # paths
    cert: str | None = None
    key: str | None = None


# Of the command line alone.
_OTHERS = {"output"}


def path() -> str | None:
    """The file's place; None where there is none (no HOME)."""
    folder = os.environ.get("TRAINYARD_CONFIG_DIR")
    if not folder and os.environ.get("XDG_CONFIG_HOME"):
        folder = os.path.join(os.environ["XDG_CONFIG_HOME"], "trainyard")
    if not folder and os.environ.get("HOME"):
        folder = os.path.join(os.environ["HOME"], ".config", "trainyard")
    return os.path.join(folder, "config") if folder else None


def parse(text: str, name: str) -> dict[str, str]:
    """What cannot be understood is left out, and logged as a warning that names the line: as the command line does it."""
    known = {field.name for field in fields(Defaults)} | _OTHERS
    values: dict[str, str] = {}
    ours = False
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip(" \t\r")
        if not content or content[0] in "#;":
            continue
        key, equals, value = (part.strip(" \t\r") for part in content.partition("="))
        fault = ""
        if content[0] == "[":
            ours = content == "[defaults]"
            fault = "" if ours else "there is only the section [defaults]"
        elif not equals:
            fault = "is not NAME = VALUE"
        elif not ours:
            fault = f"{key} is not below [defaults]"
        elif key not in known:
            fault = f"there is no setting {key}"
        else:
            values[key] = value
        if fault:
            log.warning("%s:%d: %s; the line is ignored", name, number, fault)
    return values


def defaults() -> Defaults:
    """Reads the environment and the file now. A file that is not there says nothing."""
    name = path()
    kept: dict[str, str] = {}
    if name is not None:
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                kept = parse(file.read(), name)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s: cannot be read: %s", name, error.strerror)
    return Defaults(**{field.name: os.environ.get("TRAINYARD_" + field.name.upper()) or kept.get(field.name) or None
                       for field in fields(Defaults)})
