"""Put a value into a text for a shell, so that the shell reads exactly that value."""

from __future__ import annotations

import re
import shlex


def quoted(value: str, before: str) -> str:
    r"""Quote a value for its place in a text for a shell.

    Parameters
    ----------
    value : str
    before : str
        The text before that place. It says whether a quotation is open there.

    Examples
    --------
    >>> print(quoted("a 'b", "echo "), quoted("a 'b", "echo '"), quoted('a "b', 'echo "'))
    'a '"'"'b' a '"'"'b a \"b
    """
    quotation = _open_quotation(before)
    if quotation == "'":
        return value.replace("'", "'\"'\"'")
    if quotation == '"':
        return re.sub(r'([\\"$`])', r"\\\1", value)
    return shlex.quote(value)


def _open_quotation(text: str) -> str:
    """Return the mark of the quotation that is open at the end of a text, or ""."""
    mark, escaped = "", False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and mark != "'":
            escaped = True
        elif letter == mark:
            mark = ""
        elif not mark and letter in "'\"":
            mark = letter
    return mark
