"""Names that can be sent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.media.limits import BY_MIME_TYPE, LIMITS
from airflow_provider_360dialog.media.names import extension_of, safe_name

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,239}")
DEVICES = {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


@pytest.mark.parametrize(
    ("name", "mime_type", "expected"),
    [
        pytest.param("photo.jpg", "image/jpeg", "photo.jpg", id="a good name stays"),
        pytest.param("Photo.JPEG", "image/jpeg", "Photo.jpeg", id="an acceptable extension stays, in lower case"),
        pytest.param("my photo.jpg", "image/jpeg", "my_photo.jpg", id="a space becomes an underscore"),
        pytest.param("Übergröße Łódź.pdf", "application/pdf", "Ubergrosse_Lodz.pdf", id="accents are transliterated"),
        pytest.param("../../etc/passwd", "text/plain", "passwd.txt", id="slashes and parents are cut off"),
        pytest.param("C:\\temp\\a.png", "image/png", "a.png", id="backslashes are cut off"),
        pytest.param("..", "image/png", "file.png", id="only dots leave nothing"),
        pytest.param("", "image/jpeg", "file.jpg", id="an empty name gets one"),
        pytest.param("\u0444\u043e\u0442\u043e.jpg", "image/jpeg", "file.jpg", id="a name in another script gets a plain one"),
        pytest.param(".htaccess", "text/plain", "htaccess.txt", id="leading dots go"),
        pytest.param("-rf.txt", "text/plain", "rf.txt", id="a leading hyphen goes"),
        pytest.param('a"b\r\nc\0.txt', "text/plain", "a_b_c.txt", id="quotes, line ends and NUL go"),
        pytest.param("invoice\u202efdp.exe", "application/pdf", "invoicefdp.pdf", id="bidi marks and a wrong extension go"),
        pytest.param("con.jpg", "image/jpeg", "_con.jpg", id="a Windows device is escaped"),
        pytest.param("LPT1.old.txt", "text/plain", "_LPT1.old.txt", id="a Windows device is escaped before its first dot"),
        pytest.param("photo.png", "image/jpeg", "photo.jpg", id="the extension of another type is replaced"),
        pytest.param("photo.jpg.jpg", "image/jpeg", "photo.jpg", id="a doubled extension is single"),
        pytest.param("invoice.pdf.exe", "application/pdf", "invoice.pdf", id="a second extension goes"),
        pytest.param("sound.acc", "audio/aac", "sound.aac", id="a known slip is mended"),
        pytest.param("Report v1.2", "application/pdf", "Report_v1.2.pdf", id="a dot in a name is no extension"),
        pytest.param("photo.jpg. ", "image/jpeg", "photo.jpg", id="trailing dots and spaces go"),
        pytest.param("a\uff0fb\u2024\u2024.png", "image/png", "b.png", id="slashes and dots in disguise are seen"),
        pytest.param("x" * 500 + ".jpg", "image/jpeg", "x" * 236 + ".jpg", id="a long name is cut"),
        pytest.param("tool.exe", None, "tool.exe", id="without a type the extension stays"),
    ],
)
def test_safe_name(name, mime_type, expected):
    assert safe_name(name, mime_type) == expected


@given(name=st.text(max_size=300), mime_type=st.sampled_from([limit.mime_type for limit in LIMITS]))
def test_a_name_is_always_safe_and_stable(name, mime_type):
    result = safe_name(name, mime_type)
    assert SAFE.fullmatch(result)
    assert extension_of(result) in BY_MIME_TYPE[mime_type].extensions
    assert result.partition(".")[0].upper() not in DEVICES
    assert safe_name(result, mime_type) == result


TRICKY = st.lists(
    st.sampled_from(["con", "a", "b" * 120, ".", "/", "\\", " ", "-", "_", ".jpg", ".PDF", "\u202e", "\u2024", "\xe9"])
)


@given(parts=TRICKY, mime_type=st.sampled_from(["image/jpeg", "text/plain", None]))
def test_a_name_of_tricky_parts_is_safe_and_stable(parts, mime_type):
    result = safe_name("".join(parts), mime_type)
    assert SAFE.fullmatch(result)
    assert result.partition(".")[0].upper() not in DEVICES
    assert safe_name(result, mime_type) == result


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.JPG", ".jpg"), ("a", ""), (".jpg", ""), ("a.tar.gz", ".gz"), ("dir.x/a", ""), ("a.jpg\u200f", ".jpg"), ("a.", "")],
)
def test_extension_of(name, extension):
    assert extension_of(name) == extension
