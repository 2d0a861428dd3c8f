"""What there is to ask: the sources of questions.

medalign data list
"""

from __future__ import annotations

from collections.abc import Sequence

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign data") -> int:
    """Run `medalign data ACTION` and return its exit code."""
    return guarded(lambda: _data(prog, argv))


def _data(prog: str, argv: Sequence[str] | None) -> int:
    parser = Parser(prog=prog, description="The sources of questions that --data can name.")
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    listing = "every source: what it asks, where it is had, its licence and what to cite"
    actions.add_parser("list", help=listing, description=f"Print {listing}.")
    parser.parse_args(argv)

    from medalign.data.catalog import SOURCES

    for name, source in SOURCES.items():
        print(f"{name}\n  {source.description}")
        facts = {
            "serves": ", ".join(source.serves),
            "languages": ", ".join(source.languages),
            "access": source.access,
            "from": source.origin,
            "licence": source.licence,
            "cite": source.citation,
            "faults": "\n             ".join(source.known_faults) or "none known",
        }
        for label, text in facts.items():
            print(f"  {label + ':':<11}{text}")
    return OK
