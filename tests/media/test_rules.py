"""From facts to findings."""

import pytest

from airflow_provider_360dialog.media import limits
from airflow_provider_360dialog.media.content import TO_IMAGE, TO_TEXT, Content
from airflow_provider_360dialog.media.rules import Facts, decide

JPEG = Content("image/jpeg", "a JPEG image")
PNG = Content("image/png", "a PNG image")
WEBP = Content("image/webp", "a WebP image")
ANIMATED = Content("image/webp", "an animated WebP image", animated=True)
GIF = Content("image/gif", "a GIF image", TO_IMAGE)
TEXT = Content("text/plain", "plain text")
UTF16 = Content("text/plain", "plain text in UTF-16", utf16=True)
HTML = Content("text/html", "an HTML page", "Look.")
OPUS = Content("audio/ogg", "Ogg/Opus audio")
AAC = Content("audio/aac", "AAC audio")
M4A = Content("audio/mp4", "audio")
VORBIS = Content("audio/vorbis", "Vorbis", "Convert.", compatible=("audio/ogg",))
THREEGP = Content("video/3gpp", "a 3GP video")
PDF = Content("application/pdf", "a PDF document")
MP4_OR_M4A = Content("video/mp4", "an MP4 file", candidates=("video/mp4", "audio/mp4"))
OLD_OFFICE = Content(None, "an old Office file", "Say which.", candidates=(limits.DOC, limits.XLS, limits.PPT))
UNKNOWN = Content(None, "of no type that is recognised", "Check.")


def judge(content, name="file", *, size_bytes=100, mime_type=None, kind=None):
    return decide(Facts(name=name, size_bytes=size_bytes, sha256="0" * 64, content=content, mime_type=mime_type, kind=kind))


def found(verdict):
    return [(problem.code, problem.severity) for problem in verdict.problems]


E, W = "error", "warning"


@pytest.mark.parametrize(
    ("content", "name", "mime_type", "kind", "expected"),
    [
        pytest.param(JPEG, "a.jpg", None, None, [], id="a photo under its name is good"),
        pytest.param(JPEG, "a.jpeg", "image/jpeg", "image", [], id="a photo, declared, is good"),
        pytest.param(JPEG, "a.jpg", "application/octet-stream", None, [], id="a generic type leaves it to the content"),
        pytest.param(OPUS, "a.ogg", "audio/ogg; codecs=opus", None, [], id="parameters are no slip"),
        pytest.param(JPEG, "a.jpg", "image/jpg", None, [("mime_mended", W)], id="image/jpg is mended"),
        pytest.param(THREEGP, "a.3gp", "video/3gp", None, [("mime_mended", W)], id="video/3gp is mended"),
        pytest.param(OPUS, "a.ogg", "audio/opus", None, [("mime_mended", W)], id="audio/opus is mended"),
        pytest.param(JPEG, "a.jpg", "image/png", None, [("mime_disagrees", E)], id="a photo declared as PNG"),
        pytest.param(PNG, "a.png", "image/jpg", None, [("mime_disagrees", E)], id="a slip that disagrees is an error"),
        pytest.param(JPEG, "a.jpg", "jpeg", None, [("mime_disagrees", E)], id="a word that is no type"),
        pytest.param(JPEG, "a.png", None, None, [("extension_disagrees", E)], id="a photo called png"),
        pytest.param(JPEG, "a.exe", None, None, [("extension_disagrees", E)], id="a photo called exe"),
        pytest.param(JPEG, "a", None, None, [("extension_missing", W)], id="a photo without extension"),
        pytest.param(PDF, "Report v1.2", None, None, [("extension_missing", W)], id="an unknown extension is none"),
        pytest.param(AAC, "a.acc", None, None, [("extension_mended", W)], id="acc is mended"),
        pytest.param(M4A, "a.mp4", None, None, [("extension_mended", W)], id="sound called mp4 is mended"),
        pytest.param(OPUS, "a.opus", None, None, [("extension_mended", W)], id="opus is mended"),
        pytest.param(GIF, "a.gif", None, None, [("type_not_accepted", E)], id="a GIF"),
        pytest.param(GIF, "a.gif", "image/gif", "image", [("type_not_accepted", E)], id="a declared GIF"),
        pytest.param(
            GIF, "a.jpg", "image/jpeg", None,
            [("type_not_accepted", E), ("mime_disagrees", E), ("extension_disagrees", E)],
            id="a GIF that is called a photo in two ways",
        ),
        pytest.param(HTML, "a.pdf", None, None, [("type_not_accepted", E), ("extension_disagrees", E)], id="HTML called pdf"),
        pytest.param(HTML, "a.txt", "text/plain", None, [("type_not_accepted", E)], id="HTML called txt"),
        pytest.param(VORBIS, "a.ogg", "audio/ogg", None, [("type_not_accepted", E)], id="Vorbis is rightly called ogg"),
        pytest.param(UNKNOWN, "a.jpg", "image/jpeg", "image", [("type_unknown", E)], id="of no type, whatever it is called"),
        pytest.param(TEXT, "notes.txt", None, None, [], id="text called txt"),
        pytest.param(TEXT, "x.csv", None, None, [("type_not_accepted", E)], id="text called csv"),
        pytest.param(TEXT, "x.html", None, None, [("type_not_accepted", E)], id="text called html"),
        pytest.param(TEXT, "x.txt", "text/csv", None, [("type_not_accepted", E)], id="text declared as csv"),
        pytest.param(TEXT, "x.csv", "text/plain", None, [("extension_mended", W)], id="csv declared as plain text on purpose"),
        pytest.param(TEXT, "x.log", None, None, [("extension_mended", W)], id="a log is text"),
        pytest.param(TEXT, "x.pdf", None, None, [("extension_disagrees", E)], id="text called pdf"),
        pytest.param(TEXT, "x.txt", "application/pdf", None, [("mime_disagrees", E)], id="text declared as PDF"),
        pytest.param(UTF16, "x.txt", None, None, [("text_not_utf8", W)], id="UTF-16 is warned of"),
        pytest.param(JPEG, "a.jpg", None, "video", [("kind_mismatch", E)], id="a photo as video"),
        pytest.param(JPEG, "a.jpg", None, "document", [], id="a photo as document"),
        pytest.param(WEBP, "a.webp", None, "image", [("kind_mismatch", E)], id="a WebP as image"),
        pytest.param(WEBP, "a.webp", None, "sticker", [], id="a WebP as sticker"),
        pytest.param(PNG, "a.png", None, "sticker", [("kind_mismatch", E)], id="a PNG as sticker"),
        pytest.param(PDF, "a.pdf", None, "image", [("kind_mismatch", E)], id="a PDF as image"),
        pytest.param(JPEG, "a.jpg", None, "picture", [("kind_unknown", E)], id="a kind that does not exist"),
        pytest.param(
            JPEG, "a", "image/png", "audio",
            [("mime_disagrees", E), ("kind_mismatch", E), ("extension_missing", W)],
            id="errors come before warnings",
        ),
        pytest.param(None, "a.jpg", "image/jpeg", "image", [], id="nothing is said of content that was not read"),
    ],
)  # fmt: skip
def test_findings(content, name, mime_type, kind, expected):
    assert found(judge(content, name, mime_type=mime_type, kind=kind)) == expected


@pytest.mark.parametrize(
    ("content", "size_bytes", "expected"),
    [
        pytest.param(JPEG, 5_000_000, [], id="an image at the decimal limit"),
        pytest.param(JPEG, 5_000_001, [("large_for_decimal_limit", W)], id="an image above the decimal limit"),
        pytest.param(JPEG, 5_242_880, [("large_for_decimal_limit", W)], id="an image at the binary limit"),
        pytest.param(JPEG, 5_242_881, [("too_large", E)], id="an image above the binary limit"),
        pytest.param(OPUS, 16_777_217, [("too_large", E)], id="sound above its limit"),
        pytest.param(PDF, 104_857_600, [("large_for_decimal_limit", W)], id="a document at its limit"),
        pytest.param(PDF, 104_857_601, [("too_large", E)], id="a document above its limit"),
        pytest.param(WEBP, 102_401, [("sticker_too_large", E)], id="a static sticker above its limit"),
        pytest.param(ANIMATED, 102_401, [], id="an animated sticker has more room"),
        pytest.param(ANIMATED, 512_001, [("sticker_too_large", E)], id="an animated sticker above its limit"),
        pytest.param(GIF, 50_000_000, [("type_not_accepted", E)], id="what is not accepted has no limit"),
        pytest.param(None, 104_857_601, [("too_large", E)], id="above every limit without having been read"),
        pytest.param(None, 0, [("empty_file", E)], id="empty"),
    ],
)
def test_sizes(content, size_bytes, expected):
    extension = limits.extension_for(content.mime_type) if content and content.mime_type in limits.BY_MIME_TYPE else ""
    assert found(judge(content, f"a{extension}", size_bytes=size_bytes)) == expected


@pytest.mark.parametrize(
    ("content", "name", "mime_type", "kind", "expected"),
    [
        pytest.param(MP4_OR_M4A, "a", None, None, "video/mp4", id="without a word a video"),
        pytest.param(MP4_OR_M4A, "a.mp4", "audio/x-m4a", None, "audio/mp4", id="the declared type first"),
        pytest.param(MP4_OR_M4A, "a.mp4", None, "audio", "audio/mp4", id="then the kind"),
        pytest.param(MP4_OR_M4A, "a.m4a", None, None, "audio/mp4", id="then the name"),
        pytest.param(MP4_OR_M4A, "a.png", "image/png", "image", "video/mp4", id="nothing overrules the bytes"),
        pytest.param(OLD_OFFICE, "a.xls", None, None, limits.XLS, id="an old Office file by its name"),
        pytest.param(OLD_OFFICE, "a", limits.PPT, "document", limits.PPT, id="an old Office file by its declared type"),
        pytest.param(OLD_OFFICE, "a", None, "document", None, id="an old Office file without a word"),
    ],
)
def test_what_the_caller_says_chooses_where_the_bytes_leave_a_choice(content, name, mime_type, kind, expected):
    assert judge(content, name, mime_type=mime_type, kind=kind).mime_type == expected


def test_the_verdict_says_what_to_send():
    verdict = judge(AAC, "Größe.acc", mime_type="audio/x-aac")
    assert (verdict.kind, verdict.mime_type, verdict.filename, verdict.ok) == ("audio", "audio/aac", "Grosse.aac", True)
    assert found(verdict) == [("mime_mended", W), ("extension_mended", W)]


def test_a_type_that_is_not_accepted_is_named_but_has_no_kind():
    verdict = judge(GIF, "a.gif", kind="document")
    assert (verdict.kind, verdict.mime_type, verdict.filename, verdict.ok) == (None, "image/gif", "a.gif", False)


def test_document_as_a_kind_is_kept():
    assert judge(JPEG, "a.jpg", kind="document").kind == "document"


def test_webp_as_image_is_told_that_it_works_only_as_a_sticker():
    (problem,) = judge(WEBP, "a.webp", kind="image").problems
    assert "only as a sticker" in problem.message


def test_csv_is_told_how_to_be_sent():
    (problem,) = judge(TEXT, "x.csv").problems
    assert problem.remedy == TO_TEXT
    assert ".txt" in problem.remedy


def test_every_finding_is_a_sentence_with_a_remedy_and_holds_no_file_name():
    verdict = judge(GIF, "secret-name.jpg", mime_type="image/png\r\nX: y", kind="no\nkind", size_bytes=104_857_601)
    assert len(verdict.problems) == 5
    for problem in verdict.problems:
        assert problem.message.endswith(".")
        assert problem.remedy.endswith(".")
        assert "secret" not in problem.message + problem.remedy
        assert (problem.message + problem.remedy).isprintable()
