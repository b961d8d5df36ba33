"""Read an XML file element by element, with line numbers, and without entities of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat

from espnet_kd.errors import DataDirError


class ElementError(ValueError):
    """What is wrong with one element; :func:`visit_elements` adds where it is."""


Visit = Callable[[str, Mapping[str, str], int], None]
"""Called at the start of an element: name, attributes, line."""

VisitText = Callable[[str, str, int], None]
"""Called at the end of an element: name, its text without surrounding blanks, line."""


def visit_elements(path: str | Path, start: Visit, text: VisitText | None = None) -> None:
    """Read ``path`` and call ``start`` for every element, ``text`` after each.

    Raises:
        DataDirError: the file cannot be read, is no XML, ``start`` raised an ElementError, or it
            declares entities, with which a small file can grow without end or read other files;
            names the line.
    """
    parser = expat.ParserCreate()
    words: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        words.clear()
        try:
            start(name, attributes, parser.CurrentLineNumber)
        except ElementError as error:
            raise DataDirError(f"{path}:{parser.CurrentLineNumber}: {error}") from error

    def finish(name: str) -> None:
        if text is not None:
            text(name, "".join(words).strip(), parser.CurrentLineNumber)
        words.clear()

    def refuse(*_: object) -> None:
        raise DataDirError(
            f"{path}:{parser.CurrentLineNumber}: declares an entity; none is needed here, and "
            "files from elsewhere could do harm with it: remove it"
        )

    parser.StartElementHandler, parser.EndElementHandler = begin, finish
    parser.CharacterDataHandler, parser.EntityDeclHandler = words.append, refuse
    try:
        with Path(path).open("rb") as stream:
            parser.ParseFile(stream)
    except expat.ExpatError as error:
        raise DataDirError(f"{path}:{error.lineno}: is no well-formed XML: {error}") from error
    except OSError as error:
        raise DataDirError(f"cannot read {path}: {error.strerror}") from error


def attribute(attributes: Mapping[str, str], name: str) -> str:
    """Return an attribute.

    Raises:
        ElementError: the element has none of that name.
    """
    if name not in attributes:
        raise ElementError(f"the attribute {name} is missing")
    return attributes[name]
