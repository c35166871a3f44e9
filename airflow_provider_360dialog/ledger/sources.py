"""Verdicts on files that have not changed since, so that they need not be read again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ports import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_360dialog.ledger.store import Store

_source = schema.source
_JUDGEMENT: Final = 3
"""Raised whenever files are judged by other rules, so that every file is judged anew."""


class Sources:
    """The verdicts of a ledger, for all its channels: a judgement does not depend on the number."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recall(self, uri: str, stamp: str, **said: str | None) -> Verdict | None:
        """The verdict on an unchanged file, or None.

        Args:
            uri: of the file. stamp: what its storage says of its present content (etag, or time and size).
            said: the caller's words for it, which are part of the question.
        """
        which = {"b_question": _question(uri, said), "b_stamp": stamp}
        with self._store.read() as db:
            found = db.scalar(self._store.statements.recall, which)
        return None if found is None else Verdict.from_facts(json.loads(found))

    def remember(self, uri: str, stamp: str, verdict: Verdict, **said: str | None) -> None:
        """Put a verdict on record; the file's last one is replaced."""
        values = {"b_question": _question(uri, said), "b_stamp": stamp, "b_verdict": json.dumps(asdict(verdict))}
        with self._store.write() as db:
            db.execute(self._store.statements.remember, values)

    def recall_many(self, asked: Sequence[tuple[str, str, dict[str, str | None]]]) -> list[Verdict | None]:
        """`recall` for many files in one question: (uri, stamp, said) each."""
        questions = [_question(uri, said) for uri, _, said in asked]
        query = sa.select(_source.c.question, _source.c.stamp, _source.c.verdict).where(_source.c.question.in_(set(questions)))
        with self._store.read() as db:
            found = {(row.question, row.stamp): row.verdict for row in db.execute(query)}
        texts = [found.get((question, stamp)) for question, (_, stamp, _) in zip(questions, asked, strict=True)]
        return [None if text is None else Verdict.from_facts(json.loads(text)) for text in texts]

    def remember_many(self, known: Sequence[tuple[str, str, dict[str, str | None], Verdict]]) -> None:
        """`remember` for many files in one transaction."""
        if known:
            rows = [
                {"b_question": _question(uri, said), "b_stamp": stamp, "b_verdict": json.dumps(asdict(verdict))}
                for uri, stamp, said, verdict in known
            ]
            with self._store.write() as db:
                db.execute(self._store.statements.remember, rows)

    def forget(self, uri: str, **said: str | None) -> None:
        """A file whose bytes turned out to be others."""
        with self._store.write() as db:
            db.execute(_source.delete().where(_source.c.question == _question(uri, said)))


def _question(uri: str, said: dict[str, str | None]) -> str:
    """One key for a file and what is said of it; hashed, for paths are long and may name customers."""
    asked = json.dumps([_JUDGEMENT, uri, sorted(said.items())])
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
