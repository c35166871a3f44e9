"""What strangers write, made up by hypothesis: answers of a host, files, webhooks. Each is read, refused or judged; nothing else.

Three rooms, each in a process of its own, each for so many seconds:

* ``wire``: the readers of `api` by themselves, and the real `Sender` before a server that answers whatever it is told.
* ``media``: `media.judge`, the names that are sent, and `media.preparation.rewrite`, over whole files that were damaged.
* ``webhook``: `webhook.read_inbound`, and files of webhooks line by line as `jobs.intake` reads them, packed ones too.

A finding is an error that is none of the room's own, a result that breaks a rule of it, more than 2 s of CPU for one example, or
memory that grows. Each is made small by hypothesis, told once, and passed over from then on. ``seed`` makes a run again.
"""

from __future__ import annotations

import copy
import faulthandler
import gzip
import io
import itertools
import json
import pickle
import random
import resource
import socket
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from benchmarks import files, support

ROOMS = ("wire", "media", "webhook")
MOST_S = 2.0
_MOST_WAITED_S = 10.0  # by the clock: others may use the machine too
MOST_GROWTH_BYTES = 200 * 10**6
_ROUND = 400  # examples after which a subject begins anew, with another seed
_ENDLESS_S = 60.0  # an example that takes longer will never end
_NAMED = 20
_KEY = "test-key-of-the-fuzzer"
_HOME = "https://waba-v2.360dialog.io"
_CDN = "media.example.com"
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Subject(NamedTuple):
    """One thing that reads.

    Attributes:
        examples: what it reads. read: reads it, asserts what has to hold afterwards, and says in a word what came of it.
        own: errors that are among its documented outcomes.
    """

    name: str
    examples: st.SearchStrategy[Any]
    read: Callable[[Any], str]
    own: tuple[type[BaseException], ...] = ()


def run(*, rooms: str = "wire+media+webhook", seconds: float = 600.0, seed: int = 0, at_once: int = 2) -> dict[str, Any]:
    """Read what was made up; it holds where nothing was found.

    Args:
        rooms: which, joined by ``+``. seconds: for each of them. seed: 0 takes a new one, which the line names.
        at_once: how many rooms at the same time.
    """
    started = time.monotonic()
    wanted = rooms.split("+")
    if unknown := set(wanted) - set(ROOMS):
        raise SystemExit(f"no such rooms: {', '.join(sorted(unknown))}")
    seed = seed or random.SystemRandom().randrange(1, 2**31)
    figures: dict[str, Any] = {}
    turn = threading.Semaphore(at_once)
    threads = [threading.Thread(target=_in_turn, args=(turn, figures, room, seconds, seed)) for room in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holds = all(found["examples"] and not found["findings"] for found in figures.values())
    rooms_in_order = {room: figures[room] for room in wanted}
    return support.tell("fuzz_readers", {"s_each": seconds, "seed": seed} | rooms_in_order, started=started, holds=holds)


# --- the process of a room ----------------------------------------------------------------------------------------


def _in_turn(turn: threading.Semaphore, figures: dict[str, Any], room: str, seconds: float, seed: int) -> None:
    with turn:
        context = get_context("spawn")
        answers, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, room, seconds, seed))
        process.start()
        theirs.close()
        try:
            figures[room] = answers.recv()
        except EOFError:  # an example without an end: faulthandler has written where, and ended the process
            process.join()
            figures[room] = {"examples": 0, "findings": [f"the process ended with {process.exitcode}: see above"]}
        process.join()


def _work(answers: Any, room: str, seconds: float, seed: int) -> None:
    with _SUBJECTS[room]() as subjects:
        answers.send(_Search(subjects, seed).go(seconds))


class _FoundError(AssertionError):
    """A finding; ``where`` tells it from others."""

    def __init__(self, where: str, words: str) -> None:
        super().__init__(words)
        self.where = where


class _OverError(BaseException):
    """The time is over. No `Exception`, which hypothesis would take for a finding and make small."""


class _Search:
    """Subject after subject, round after round, until the time is over."""

    def __init__(self, subjects: list[Subject], seed: int) -> None:
        self._subjects, self._seed = subjects, seed
        self._examples: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._known: set[str] = set()
        self._findings: list[dict[str, str]] = []
        self._slowest: tuple[float, str] = (0.0, "")
        self._ends_at = 0.0

    def go(self, seconds: float, *, rounds: int | None = None) -> dict[str, Any]:
        """Until the seconds are over, or so many rounds."""
        self._ends_at = time.monotonic() + seconds
        start_bytes, number = 0, 0
        while time.monotonic() < self._ends_at and number != rounds:
            for subject in self._subjects:
                with suppress(_OverError):
                    self._round(subject, number)
            number += 1
            start_bytes = start_bytes or _peak_bytes()  # after the first round
        growth_bytes = _peak_bytes() - start_bytes
        if growth_bytes > MOST_GROWTH_BYTES:
            self._findings.append({"where": "memory", "words": f"it grew by {growth_bytes / 10**6:.0f} MB", "example": ""})
        return {
            "examples": sum(self._examples.values()),
            "of": dict(self._examples),
            "outcomes": dict(self._outcomes.most_common()),
            "slowest_s": [round(self._slowest[0], 3), self._slowest[1]],
            "growth_mb": round(growth_bytes / 10**6, 1),
            "findings": self._findings[:_NAMED],
        }

    def _round(self, subject: Subject, number: int) -> None:
        last: list[Any] = []

        @seed(self._seed + number)
        @settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(subject.examples)
        def read(example: Any) -> None:
            if time.monotonic() >= self._ends_at:
                raise _OverError
            last[:] = [example]
            self._read(subject, example)

        try:
            read()
        except _FoundError as found:
            self._note(found, last[0])
        except Flaky as flaky:  # slow once, and not when it was tried again
            for found in getattr(flaky, "exceptions", ()):
                if isinstance(found, _FoundError):
                    self._note(found, last[0], " (not when it was tried again)")

    def _note(self, found: _FoundError, example: Any, more: str = "") -> None:
        self._known.add(found.where)
        self._findings.append({"where": found.where, "words": f"{found}"[:300] + more, "example": repr(example)[:600]})

    def _read(self, subject: Subject, example: Any) -> None:
        """One example.

        Raises:
            _FoundError: it is a finding that is not known yet.
        """
        self._examples[subject.name] += 1
        faulthandler.dump_traceback_later(_ENDLESS_S, exit=True)
        began, began_cpu, before = time.perf_counter(), time.process_time(), _peak_bytes()
        where = words = ""
        try:
            outcome = subject.read(example)
        except subject.own as error:
            outcome = type(error).__name__
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            outcome, words = "finding", f"{type(error).__name__}: {error}"
            where = f"{type(error).__name__} at {_place_of(error)}"
        took_s, took_cpu_s, grew_bytes = time.perf_counter() - began, time.process_time() - began_cpu, _peak_bytes() - before
        faulthandler.cancel_dump_traceback_later()
        self._outcomes[f"{subject.name} {outcome}"] += 1
        self._slowest = max(self._slowest, (took_s, subject.name))
        if not where and (took_cpu_s > MOST_S or took_s > _MOST_WAITED_S):
            where, words = f"{subject.name} is slow", f"it took {took_s:.1f} s, and {took_cpu_s:.1f} s of CPU"
        if not where and grew_bytes > MOST_GROWTH_BYTES:
            where, words = f"{subject.name} hoards", f"memory grew by {grew_bytes / 10**6:.0f} MB"
        if where and where not in self._known:
            raise _FoundError(where, words)


def _place_of(error: BaseException) -> str:
    """The last line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if str(support.CHECKOUT) in each.filename and "site-packages" not in each.filename]
    ours = [each for each in ours if each.name != _printable.__name__]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- what several rooms make up -----------------------------------------------------------------------------------

# No text is too odd for JSON: lone surrogates, controls, directions.
_texts = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["", "\0", "\r\nX: 1", "\ud800", "\u202egpj.exe", "٣٤", "²", "1" * 33, "9" * 5000, "\ufeff", "a" * 5000, "../../x", "CON"]
)
_numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**63, 2**64, 10**40, 10**309, -1, 1e308, 253402300800, 253402300799999, -62135596801])
)
_scalars = st.none() | st.booleans() | _numbers | _texts | st.sampled_from(["33", "100", "true", "0", "-1", " 1 "])
_values = st.recursive(_scalars, lambda of: st.lists(of, max_size=4) | st.dictionaries(_texts, of, max_size=4), max_leaves=12)
_ABSENT = object()
_RAW_JSON = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"1" * 20_000,
    b'{"id": 1' + b"0" * 5000 + b"}",
    b'{"error": {"code": 1' + b"0" * 5000 + b"}}",
    b"NaN",
    b"-Infinity",
    b'"\\ud800"',
    b'{"id": "\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b"\x00",
    b"<html>",
    b"",
)


def _mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], *, times: int = 6) -> st.SearchStrategy[Any]:
    """The usual so many times for each odd one."""
    # Not at the ends of the range, which hypothesis likes too well; and no `sampled_from`, which writes all strategies out.
    return st.integers(0, 6 * times + 5).flatmap(lambda which: odd if which % (times + 1) == 1 else usual)


def _shaped(shape: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with most of these fields, each as it should be or as anything at all; now and then others beside them."""
    fields = {name: _mostly(of, st.just(_ABSENT) | _values) for name, of in shape.items()}
    others = _mostly(st.just({}), st.dictionaries(_texts, _scalars, max_size=2))
    return st.builds(
        lambda made, more: more | {name: of for name, of in made.items() if of is not _ABSENT},
        st.fixed_dictionaries(fields),
        others,
    )


def _edited(*whole: Any) -> st.SearchStrategy[Any]:
    """One of these documents, with a few of its places made something else, taken away, or doubled."""

    def edit(which: int, edits: list[tuple[int, str, Any]]) -> Any:
        made = copy.deepcopy(whole[which])
        for at, how, value in edits:
            places = list(_places_in(made))
            if not places:
                break
            holder, key = places[at % len(places)]
            if how == "delete":
                del holder[key]
            elif how == "double" and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            else:
                holder[key] = value
        return made

    hows = st.sampled_from(["replace", "replace", "delete", "double"])
    edits = st.lists(st.tuples(st.integers(0, 200), hows, _scalars | _values), max_size=4)
    return st.builds(edit, st.integers(0, len(whole) - 1), edits)


def _places_in(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: what holds it, and under which key."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()):
        yield node, key
        yield from _places_in(value)


def _as_json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """As bytes: whole, cut or damaged, in one of JSON's encodings or none."""

    def encode(value: Any, encoding: str, damages: list[tuple[int, bytes]]) -> bytes:
        data = json.dumps(value).encode(encoding)
        for at, bad in damages:
            place = at % (len(data) + 1)
            data = data[:place] + bad + data[place + len(bad) :]
        return data

    encodings = st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32-be"])
    damages = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6)), max_size=2)
    made = st.builds(encode, values, encodings, _mostly(st.just([]), damages))
    return _mostly(made, st.sampled_from(_RAW_JSON) | st.binary(max_size=300))


def _printable(*texts: str | None) -> None:
    for text in texts:
        assert text is None or text.isprintable(), f"not printable: {text!r:.200}"


# --- the wire -----------------------------------------------------------------------------------------------------

_few_digits = st.integers(1, 10**16).map(str)
_digits = _mostly(_few_digits, st.from_regex(r"[0-9]{1,40}", fullmatch=True))
_queries = st.sampled_from(["hash=AT", "ext=1793491200&hash=A%2fT"]) | st.integers(-(10**15), 10**20).map("ext={}&hash=AT".format)
_authorities = st.sampled_from(
    [_CDN, "waba-v2.360dialog.io", "u:p@lookaside.fbsbx.com", "lookaside.fbsbx.com:443", "[::1]", "[", "::", ""]
)
_paths = st.sampled_from(["/", "", "/../", "/whatsapp_business/attachments/%2e%2e/", "/whatsapp_business/attachments//"])
_urls = _mostly(
    st.builds(
        "{}{}{}{}{}".format,
        _mostly(st.just("https://"), st.sampled_from(["http://", "HTTPS://", "//", "", "\\/\\/"])),
        _mostly(st.just("lookaside.fbsbx.com"), _authorities),
        _mostly(st.just("/whatsapp_business/attachments/"), _paths),
        _mostly(st.just("?"), st.sampled_from(["#", "", "\\?"])),
        _mostly(_queries, st.text(st.characters(codec="ascii"), max_size=60)),
    ),
    _texts,
)
_errors = _shaped(
    {"message": _texts, "code": _numbers, "details": _texts, "error_data": _shaped({"details": _texts}), "type": _texts}
)
_entities = _shaped(
    {
        "entity_type": st.just("PHONE_NUMBER") | _texts,
        "id": _digits,
        "can_send_message": st.sampled_from(["AVAILABLE", "LIMITED", "BLOCKED"]),
        "additional_info": st.lists(_texts, max_size=2),
        "errors": st.lists(
            _shaped({"error_code": _numbers, "error_description": _texts, "possible_solution": _texts}), max_size=2
        ),
    }
)
_ANSWERS: tuple[dict[str, Any], ...] = (
    {"id": "123"},
    {"success": True},
    {
        "id": "123",
        "url": "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=123&ext=1793491200&hash=AT",
        "mime_type": "image/jpeg",
        "sha256": "0" * 64,
        "file_size": "48213",
        "messaging_product": "whatsapp",
    },
    {"error": {"message": "(#100) Invalid parameter", "type": "OAuthException", "code": 100, "error_data": {"details": "No"}}},
    {"meta": {"developer_message": "exceeded the endpoint rate limit", "success": False, "http_code": 400}},
    {"errors": [{"code": 1014, "title": "Internal error", "details": "Try again"}]},
    {
        "health_status": {
            "can_send_message": "LIMITED",
            "entities": [
                {"entity_type": "PHONE_NUMBER", "id": "123", "can_send_message": "AVAILABLE"},
                {
                    "entity_type": "WABA",
                    "id": "456",
                    "can_send_message": "LIMITED",
                    "additional_info": ["Not verified yet."],
                    "errors": [{"error_code": 141010, "error_description": "No payment", "possible_solution": "Pay"}],
                },
            ],
        }
    },
)
_bodies = _as_json(
    _mostly(
        _edited(*_ANSWERS),
        _shaped({"id": _digits, "success": st.booleans()})
        | _shaped({"id": st.just("123"), "url": _urls, "mime_type": _texts, "sha256": _texts, "file_size": _numbers})
        | _shaped({"error": _errors | _texts})
        | _shaped({"meta": _shaped({"developer_message": _texts, "developerMessage": _texts})})
        | _shaped({"errors": st.lists(_errors | _shaped({"title": _texts}), max_size=2), "message": _texts})
        | _shaped({"health_status": _shaped({"can_send_message": _texts, "entities": st.lists(_entities, max_size=3)})})
        | _values,
        times=2,
    )
)
_dates = st.datetimes().map(lambda at: format_datetime(at.replace(tzinfo=UTC), usegmt=True)) | st.builds(
    "{}, {:02} Jan {} {:02}:00:00 {}{}".format, st.sampled_from(["Mon", "x", ""]), st.integers(0, 40), st.integers(-1, 10**6),
    st.integers(0, 30), st.sampled_from("+-"), st.integers(0, 10**25),
)  # fmt: skip
_retry_after = st.integers().map(str) | st.floats().map(str) | _dates | _texts
_statuses = _mostly(
    st.just(200), st.sampled_from([204, 400, 401, 403, 404, 408, 410, 413, 429, 500, 503]) | st.integers(100, 999), times=1
)
_headers = st.fixed_dictionaries({}, optional={"retry-after": _retry_after, "date": _dates | _texts, "content-type": _texts})


def _read_answer(example: tuple[int, dict[str, str], bytes, bool]) -> str:
    from airflow_provider_360dialog.api import answers, refusals
    from airflow_provider_360dialog.api.messages import Answer

    answer = Answer(*example[:3], whole=example[3])
    outcomes = [
        answers.read_upload(answer, now=_NOW),
        answers.read_fetch(answer, media_id="123", now=_NOW, base_url=_HOME, extra_hosts=frozenset({_CDN})),
        answers.read_delete(answer, media_id="123", now=_NOW),
        answers.read_health(answer, now=_NOW),
    ]
    if not 200 <= answer.status < 300:
        outcomes.append(refusals.read_refusal("download", answer, now=_NOW))
    for outcome in outcomes:
        _check_outcome(outcome)
    read = [type(outcome).__name__ for outcome in outcomes if not isinstance(outcome, Exception)]
    return read[0] if read else type(outcomes[0]).__name__


def _check_outcome(outcome: object) -> None:
    """What whoever gets an outcome of the wire may rely on."""
    from airflow_provider_360dialog.api.identity import check_media_id, read_media_url
    from airflow_provider_360dialog.exceptions import Dialog360Error
    from airflow_provider_360dialog.ports import FetchedMedia, Health

    if isinstance(outcome, Dialog360Error):
        _printable(str(outcome), getattr(outcome, "details", ""), getattr(outcome, "reason", ""))
        assert len(str(outcome)) < 1500
        assert str(pickle.loads(pickle.dumps(outcome))) == str(outcome)
        retry_at = getattr(outcome, "retry_at", _NOW)
        assert retry_at.tzinfo is not None
        assert timedelta(0) <= retry_at - _NOW <= timedelta(days=1)
    elif isinstance(outcome, FetchedMedia):
        read_media_url(outcome.url.reveal(), base_url=_HOME, extra_hosts=frozenset({_CDN}))
        assert outcome.sha256 is None or len(bytes.fromhex(outcome.sha256)) == 32
        assert outcome.size_bytes is None or outcome.size_bytes >= 0
        assert outcome.url_expires_at.tzinfo is not None
        _printable(outcome.mime_type, outcome.sha256)
    elif isinstance(outcome, Health):
        _printable(outcome.status, *outcome.entities, *outcome.entities.values(), *outcome.notes)
    else:
        assert isinstance(outcome, bool) or check_media_id(outcome)


def _read_url(text: str) -> str:
    from airflow_provider_360dialog.api.identity import read_media_url

    target = read_media_url(text, base_url=_HOME, extra_hosts=frozenset({_CDN}))
    leaves = target.path_and_query
    assert leaves.isascii()
    assert leaves.isprintable()
    assert leaves.startswith("/whatsapp_business/attachments/?")
    assert not set(' #\\"<>') & set(leaves)
    assert target.expires_at is None or target.expires_at.tzinfo is not None
    return "accepted"


def _decode(example: tuple[bytes, str, int, list[int]]) -> str:
    from airflow_provider_360dialog.api.decoding import decode

    data, encoding, most, cuts = example
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(places)]
    out = b"".join(decode(chunks, encoding, max_bytes=most))
    assert len(out) <= most + 1
    if encoding == "":
        assert out == data[: most + 1]
    return "decoded"


def _packed(data: bytes, how: str, times: int) -> bytes:
    data *= times
    return {"gzip": gzip.compress, "deflate": zlib.compress}.get(how, bytes)(data)


_encoded = st.tuples(
    st.builds(_packed, st.binary(max_size=64), st.sampled_from(["gzip", "deflate", ""]), st.sampled_from([1, 1, 10, 10**5]))
    | st.binary(max_size=200),
    st.sampled_from(["", "gzip", "x-gzip", "deflate", "identity", "br", "GZIP ", "gzip, gzip"]),
    st.integers(0, 70_000),
    st.lists(st.integers(0, 5000), max_size=3),
)
_locations = (
    _urls
    | st.none()
    | st.builds(
        "{}{}".format,
        st.sampled_from([_HOME, f"https://{_CDN}", "//", "/", "?", "", "http://[", "//[::1]", "javascript:"]),
        _texts,
    )
)


def _hop(example: tuple[str | None, int, str, str]) -> str:
    from airflow_provider_360dialog.api.redirects import Hop, decide_hop

    location, status, operation, method = example
    at = Hop(_HOME, "/a/b?q=1", with_key=True)
    hosts = frozenset({_CDN})
    found = decide_hop(
        operation=operation, method=method, status=status, location=location, at=at, base_url=_HOME, download_hosts=hosts
    )
    if isinstance(found, Hop):
        assert found.origin == _HOME if found.with_key else (found.origin == f"https://{_CDN}" and operation == "download")
        assert found.target.startswith("/")
        assert found.target.isascii()
        assert found.target.isprintable()
        assert " " not in found.target
    else:
        _check_outcome(found)
    return type(found).__name__


def _answer_bytes(example: tuple[Any, ...]) -> bytes:
    """An HTTP answer, or what a broken server takes for one."""
    version, status, reason, headers, body, framing, damages = example
    lines = [b" ".join([version, str(status).encode(), reason])]
    lines += [name.encode() + b": " + value.encode("latin-1", "replace").replace(b"\n", b" ") for name, value in headers.items()]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif framing:
        lines.append(framing.encode())
    data = b"\r\n".join(lines) + b"\r\n\r\n" + body
    for at, bad in damages:
        place = at % (len(data) + 1)
        data = data[:place] + bad + data[place + len(bad) :]
    return data


_http_headers = st.fixed_dictionaries(
    {},
    optional={
        "Retry-After": _retry_after,
        "Date": _dates,
        "Location": _locations.map(lambda text: text or "") | st.sampled_from(["/again", "http://127.0.0.1:1/x", "//[", "/\\x"]),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "x", ""]),
        "Content-Type": _texts,
        "Set-Cookie": _texts,
        "Connection": st.sampled_from(["close", "keep-alive", "upgrade"]),
        "X-Odd": _texts,
    },
)
_http = st.tuples(
    st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/9.9", b"ICY", b""]),
    _statuses | st.sampled_from([301, 302, 303, 307, 308, 100, 101, 103, -1, 99999]),
    st.binary(max_size=8) | st.just(b"OK"),
    _http_headers,
    _bodies | st.builds(_packed, st.binary(max_size=64), st.just("gzip"), st.sampled_from([1, 10**6])),
    st.sampled_from(["length", "length", "chunked", "", "Content-Length: 99", "Content-Length: -1", "Content-Length: x",
                     "Content-Length: " + "9" * 5000, "Transfer-Encoding: x", "Content-Length: 1\r\nContent-Length: 2"]),
    st.just([]) | st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=8)), max_size=2),
).map(_answer_bytes)  # fmt: skip
_wire = (
    _http
    | st.binary(max_size=200)
    | st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, b"HTTP/1.1 200 " + b"a" * 200_000])
)


class _Host:
    """A server on loopback that answers each request with the bytes it was given last, and closes."""

    def __init__(self) -> None:
        self.says = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(1.0)
        try:
            with connection:
                request = b""
                while b"\r\n\r\n" not in request and (more := connection.recv(65536)):
                    request += more
                connection.sendall(self.says)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # the rest of an upload; closed too early, the answer would be reset
                    pass
        except OSError:
            pass


def _ask(host: _Host, example: tuple[bytes, str]) -> str:
    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.ports import Channel, Timeouts

    host.says, call = example
    timeouts = Timeouts(connect_s=1.0, idle_s=1.0, total_s=1.5)
    api = MediaApi(Channel(api_key=_KEY, base_url=host.base_url, timeouts=timeouts), now=lambda: _NOW)
    target = api.read_url("https://lookaside.fbsbx.com/whatsapp_business/attachments/?hash=AT-secret-of-the-url")
    sink = io.BytesIO()
    calls: dict[str, Callable[[], object]] = {
        "upload": lambda: api.upload(
            files.Named("a.png", support.PNG), size_bytes=len(support.PNG), sha256="", mime_type="image/png", filename="a.png"
        ),
        "fetch": lambda: api.fetch("123"),
        "download": lambda: api.download(target, sink, max_bytes=1000),
        "delete": lambda: api.delete("123"),
        "health": api.health,
    }
    try:
        outcome = calls[call]()
    finally:
        api.close()
    assert len(sink.getvalue()) <= 1001
    if call != "download" or isinstance(outcome, Exception):
        _check_outcome(outcome) if call != "fetch" or isinstance(outcome, Exception) else None
    shown = f"{outcome!r} {outcome}"
    assert _KEY not in shown
    assert "AT-secret" not in shown
    return type(outcome).__name__


@contextmanager
def _wire_subjects() -> Iterator[list[Subject]]:
    from airflow_provider_360dialog.api.decoding import EncodingError
    from airflow_provider_360dialog.exceptions import MediaUrlRefusedError

    calls = st.sampled_from(["upload", "fetch", "download", "delete", "health"])
    hops = st.tuples(_locations, st.sampled_from([301, 302, 303, 307, 308]), calls, st.sampled_from(["GET", "POST", "DELETE"]))
    yield [
        Subject("answers", st.tuples(_statuses, _headers, _bodies, st.booleans()), _read_answer),
        Subject("media_url", _urls, _read_url, (MediaUrlRefusedError,)),
        Subject("decoding", _encoded, _decode, (EncodingError,)),
        Subject("redirects", hops, _hop),
        Subject("sender", st.tuples(_wire, calls), partial(_ask, _Host())),
    ]


# --- files --------------------------------------------------------------------------------------------------------

_STARTS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftypmp42", b"OggS\0\x02", b"ID3\x04", b"%PDF-1.7",
    b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"#!AMR\n", b"\xff\xf1", b"<svg", b"\x1f\x8b", b"GIF89a", b"II*\0", b"",
)  # fmt: skip
_LENGTHS = (b"\0\0\0\0", b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0\0\0\0\1", b"\xff" * 8)


def _damaged(whole: list[files.Named]) -> st.SearchStrategy[bytes]:
    def damage(index: int, edits: list[tuple[int, bytes, bool]], cut: int, tail: bytes) -> bytes:
        data = bytearray(whole[index].data)
        for at, bad, is_inserted in edits:
            place = at % (len(data) + 1)
            data[place : place if is_inserted else place + len(bad)] = bad
        return bytes(data[: len(data) - cut % (len(data) + 1) if cut else None]) + tail

    edits = st.tuples(
        st.integers(0, 600) | st.integers(0, 200_000), st.binary(max_size=8) | st.sampled_from(_LENGTHS), st.booleans()
    )
    return st.builds(
        damage,
        st.integers(0, len(whole) - 1),
        st.lists(edits, max_size=6),
        st.just(0) | st.integers(0, 200_000),
        st.binary(max_size=20),
    )


def _judge(example: tuple[bytes, str, str | None, str | None]) -> str:
    from airflow_provider_360dialog.api.multipart import MultipartFile
    from airflow_provider_360dialog.media.judge import inspect, measure

    data, name, mime_type, kind = example
    file = files.Named(name, data)
    verdict = inspect(file, mime_type=mime_type, kind=kind)
    assert verdict.size_bytes == len(data)
    assert verdict.sha256 == measure(io.BytesIO(data)).sha256
    for problem in verdict.problems:
        _printable(problem.message, problem.remedy)
    if verdict.ok:
        assert verdict.kind is not None
        assert verdict.mime_type is not None
        assert data
        MultipartFile(file, size_bytes=len(data), mime_type=verdict.mime_type, filename=verdict.filename)
    return "ok" if verdict.ok else "refused"


def _rewrite(example: tuple[bytes, str, int]) -> str:
    from airflow_provider_360dialog.media.preparation.rewrite import rewrite

    data, mime_type, orientation = example
    target = io.BytesIO()
    rewrite(io.BytesIO(data), target, mime_type=mime_type, orientation=orientation)
    once = target.getvalue()
    assert len(once) <= len(data) + 200
    again = io.BytesIO()
    rewrite(io.BytesIO(once), again, mime_type=mime_type, orientation=orientation)
    assert again.getvalue() == once, "rewritten again it changes"
    return "rewritten"


@contextmanager
def _media_subjects() -> Iterator[list[Subject]]:
    from airflow_provider_360dialog.exceptions import CallError

    whole = list(files.seeds())
    contents = _damaged(whole) | st.builds(bytes.__add__, st.sampled_from(_STARTS), st.binary(max_size=400))
    names = _texts | st.sampled_from([each.name for each in whole])
    types = (
        st.none() | _texts | st.sampled_from(["image/jpeg", "image/jpg", "audio/ogg; codecs=opus", "application/octet-stream"])
    )
    kinds = st.sampled_from([None, None, None, "image", "video", "audio", "document", "sticker"])
    pictures = [each for each in whole if each.data[:4] in {b"\x89PNG", b"RIFF"} or each.data[:2] == b"\xff\xd8"]
    types_of_pictures = st.sampled_from(["image/jpeg", "image/png", "image/webp"])
    yield [
        Subject("judge", st.tuples(contents, names, types, kinds), _judge),
        Subject(
            "rewrite", st.tuples(_damaged(pictures), types_of_pictures, st.integers(1, 8)), _rewrite, (ValueError, CallError)
        ),
    ]


# --- webhooks -----------------------------------------------------------------------------------------------------

_media_objects = _shaped(
    {
        "id": _digits,
        "mime_type": _texts,
        "sha256": _texts,
        "url": _urls,
        "filename": _texts,
        "caption": _texts,
        "voice": st.booleans(),
    }
)
_KINDS = ("image", "video", "audio", "document", "sticker")
_messages = _shaped(
    {
        "type": _mostly(st.sampled_from(_KINDS), st.sampled_from(["text", "unsupported", "unknown"])),
        "id": _texts,
        "from": _digits,
        "timestamp": _digits | _numbers,
        "errors": _mostly(
            st.just([]),
            st.lists(_shaped({"code": _numbers, "title": _texts, "error_data": _shaped({"details": _texts})}), max_size=2),
        ),
        "unsupported": _shaped({"type": _texts}),
        **dict.fromkeys(_KINDS, _media_objects),
    }
)
_webhook_values = _shaped(
    {
        "messaging_product": st.just("whatsapp"),
        "metadata": _shaped({"phone_number_id": _few_digits}),
        "messages": st.lists(_messages, min_size=1, max_size=3),
        "statuses": st.lists(_values, max_size=2),
    }
)
_changes = _shaped({"field": st.just("messages"), "value": _webhook_values})
_entries = _shaped({"id": _digits, "changes": st.lists(_changes, min_size=1, max_size=2)})
_whole_webhooks = _shaped({"object": st.just("whatsapp_business_account"), "entry": st.lists(_entries, min_size=1, max_size=2)})
_FILE = {
    "mime_type": "image/jpeg",
    "sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "url": "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=1793491200&hash=AT",
    "filename": "a.pdf",
    "caption": "hello",
}
_MESSAGES = [
    {"from": "491700000000", "id": f"wamid.{kind}", "timestamp": "1793491000", "type": kind, kind: _FILE | {"id": str(at)}}
    for at, kind in enumerate(_KINDS, 1000)
]
_VALUE = {
    "messaging_product": "whatsapp",
    "metadata": {"display_phone_number": "49301234", "phone_number_id": "100000000000001"},
    "contacts": [{"profile": {"name": "A"}, "wa_id": "491700000000"}],
    "messages": _MESSAGES,
}
_LOST = _VALUE | {
    "messages": [
        {"from": "491700000000", "id": "wamid.x", "timestamp": "1793491000", "type": "unsupported",
         "unsupported": {"type": "gif"},
         "errors": [{"code": 131052, "title": "Too large", "message": "No", "error_data": {"details": "https://a/?b=c"}}]},
        {"from": "491700000000", "id": "wamid.y", "timestamp": "1793491000", "type": "text", "text": {"body": "hello"}},
    ],
    "statuses": [{"id": "wamid.z", "status": "read"}],
}  # fmt: skip
_WHOLE = [
    {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}
    for value in (_VALUE, _LOST)
]
_shaped_payloads = (
    _whole_webhooks
    | _entries
    | _changes
    | _webhook_values
    | st.lists(_whole_webhooks | _values, max_size=3)
    | _shaped({"payload": _whole_webhooks, "body": _whole_webhooks.map(json.dumps)})
    | _values
)
_payloads = _mostly(_edited(*_WHOLE, _WHOLE, {"payload": _WHOLE[0]}, _VALUE), _shaped_payloads, times=9)


def _read_webhook(payload: Any) -> str:
    from airflow_provider_360dialog.webhook import read_inbound

    found = read_inbound(payload)
    for media in found.media:
        assert media.media_id.isdigit()
        assert media.phone_number_id.isdigit()
        _printable(media.media_id, media.mime_type, media.sha256, media.message_id, media.sender, media.file_name)
        assert media.caption is None or len(media.caption) <= 1024
        assert media.deadline is None or media.deadline.tzinfo is not None
        json.dumps(dict(media), default=str).encode()
        assert media.url is None or media.url.reveal().partition("?")[2] not in repr(media) or "?" not in media.url.reveal()[:-5]
    for lost in found.unusable:
        _printable(lost.mark, lost.details, lost.phone_number_id)
        assert len(lost.details) <= 300
    again = read_inbound(payload)
    assert [lost.mark for lost in again.unusable] == [lost.mark for lost in found.unusable]
    return "media" if found.media else "lost" if found.unusable else "nothing"


def _webhook_file(folder: Path, example: tuple[bytes, bool]) -> str:
    """Through the same readers as an archive's source, from a file on disk."""
    from airflow_provider_360dialog.hooks import lines
    from airflow_provider_360dialog.hooks.places import source_at
    from airflow_provider_360dialog.jobs.intake import DOCUMENT_MAX_BYTES, LINE_MAX_BYTES, WebhookFile

    data, packed = example
    path = folder / ("webhooks.jsonl.gz" if packed else "webhooks.jsonl")
    path.write_bytes(data)
    file = WebhookFile(
        str(path),
        None,
        partial(lines.text_lines, str(path), line_max_bytes=LINE_MAX_BYTES),
        lambda: lines.read_bytes(source_at(str(path)), max_bytes=DOCUMENT_MAX_BYTES),
    )
    numbers = []
    for number, found in file.webhooks():
        numbers.append(number)
        for media in found.media:
            assert media.media_id.isdigit()
    assert numbers == sorted(set(numbers))
    return "read" if numbers else "empty"


def _payload_in_hand(payload: Any) -> str:
    from airflow_provider_360dialog.jobs.intake import payload_file

    file = payload_file(payload)
    return "read" if list(file.webhooks()) else "empty"


_lines = st.lists(_as_json(_payloads), max_size=5).flatmap(
    lambda made: st.sampled_from([b"\n", b"\r\n", b"\n\n", b"", b"\xff\n", b"\x00"]).map(lambda end: end.join(made))
)
_as_files = st.one_of(
    st.tuples(_lines, st.just(False)),
    st.tuples(_lines.map(gzip.compress), st.just(True)),
    st.tuples(_lines.map(lambda data: gzip.compress(data)[:-3]), st.just(True)),
    st.tuples(st.binary(max_size=200).map(lambda data: b"\x1f\x8b\x08" + data), st.just(True)),
)


@contextmanager
def _webhook_subjects() -> Iterator[list[Subject]]:
    from airflow_provider_360dialog.exceptions import CallError, SourceUnreadableError, StorageFailedError

    with tempfile.TemporaryDirectory() as folder:
        yield [
            Subject("payloads", _payloads | _as_json(_payloads) | _texts, _read_webhook),
            Subject("files", _as_files, partial(_webhook_file, Path(folder)), (SourceUnreadableError, StorageFailedError)),
            Subject("payloads in hand", _payloads | _texts | _as_json(_payloads), _payload_in_hand, (CallError,)),
        ]


_SUBJECTS = {"wire": _wire_subjects, "media": _media_subjects, "webhook": _webhook_subjects}


if __name__ == "__main__":
    support.main(run)
