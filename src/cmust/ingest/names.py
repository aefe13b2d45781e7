"""Task names, which are of ``a-z``, ``0-9`` and ``_``, from any text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable


def slug(text: str) -> str:
    """A task name from any text: ``CRIMINAL DAMAGE`` -> ``criminal_damage``, ``Überfall`` -> ``uberfall``.

    What is a task name stays as it is. Where letters of other scripts are lost, or nothing is left, it ends with a code
    of the whole text, the same in every run: ``кража A`` -> ``a_u89977edb``.
    """
    if re.fullmatch(r"[a-z0-9_]+", text):
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(c))
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    lost = any(c.isalnum() and not c.isascii() for c in plain)
    if name and not lost:
        return name
    code = f"u{hashlib.sha256(text.strip().encode()).hexdigest()[:8]}"
    return f"{name}_{code}" if name else code


def renamed(texts: Iterable[str]) -> list[str]:
    """A note for each text that its task name does not show, so that nobody has to guess which is which."""
    return [
        f"task names are of a-z, 0-9 and _: '{text}' is called {slug(text)}"
        for text in texts
        if slug(text) not in (text, re.sub(r"\W+", "_", text.lower()).strip("_"))
    ]
