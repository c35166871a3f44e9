"""Facts of sound without boxes."""

import base64
import random
import struct
import zlib

import pytest

from airflow_provider_360dialog.media import film_rules
from airflow_provider_360dialog.media.voices import MAX_UNITS, Voice, walk_voice
from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Passing, walk_over
from tests.media.builders import adts, id3, mp3

# --- builders -----------------------------------------------------------------------------------------------------

FIRST, LAST = 2, 4


def page(*packets, flags=0):
    """One Ogg page of whole packets."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(lacing)]) + lacing + b"".join(packets)


def opus_head(channels):
    return page(b"OpusHead\1" + bytes([channels]) + bytes(9), flags=FIRST)


def opus(channels=1):
    return opus_head(channels) + page(b"OpusTags" + bytes(300)) + page(bytes(80), bytes(81)) + page(bytes(500), flags=LAST)


def amr(*modes):
    lengths = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
    return b"#!AMR\n" + b"".join(bytes([mode << 3 | 4]) + b"\xaa" * (lengths[mode] - 1) for mode in modes)


def with_table(mark, told_bytes, sound, flags=3, at=36):
    """An MP3 file whose first frame tells the length of all."""
    frame = bytearray(sound[:417])
    if mark == b"VBRI":
        table = mark + bytes(6) + struct.pack(">I", told_bytes)
    else:
        fields = [b"\0\0\1\1"] * (flags & 1) + [struct.pack(">I", told_bytes)] * (flags >> 1 & 1)
        fields += [b"\xff" * 100] * (flags >> 2 & 1)
        table = mark + struct.pack(">I", flags) + b"".join(fields)
    frame[at : at + len(table)] = table
    return bytes(frame) + sound[417:]


def facts(data):
    return walk_over(walk_voice(), data)


def drive(data):
    """What a walk finds, and what it asked for."""
    walk, piece, asked = walk_voice(), None, []
    while True:
        try:
            asked.append(walk.send(piece))
        except StopIteration as stop:
            return stop.value, asked
        assert asked[-1].length <= LARGEST_RANGE_BYTES
        assert len(asked) < 2 or asked[-1].offset >= asked[-2].offset
        piece = data[asked[-1].offset : sum(asked[-1])]


def unpacked(text):
    return zlib.decompress(base64.b64decode(text))


# Real files, made with PyAV 18.1.0, then zlib and base64.
# libopus, stereo, 0.1 s
OPUS_STEREO = unpacked(
    b"eNrzT08PZmBigIKFj6faguiDx1atYxT2Lygt9khNTGFksmBs2A1W4A9SzoCsnBFIR23luMtoBlIekphezAsU8UksSzMz0jMEIgMjkBJRIE7NS85PSS2yRZEEm8hi"
    b"IIowEeQahwXvKtiM1OUVVXQqWgv1flhub2t3N+VQzorksbj9Qey3ufO0Vd1s7cqRfNY3PmpOSNe0C3rv5lK2aetv7hC+ih0HArZufsgWbMflwqOyR/3lqrmlFmI9"
    b"fyu4tTk7p8Xu9Iq7PS/UTwKhjCPjZSRfUaG8I/c+nUNaoYseOLVvvQ2Rvnd7eo+c0DKBuGlvN2TayV1TOevfIvU6q2q6Z1rFjvxP6lOLdLKy81X9poS7qp0LbmTO"
    b"MjkWKOu+JzN71v0K/aerK9hKzQIPP4jYefmu84EzG/+zHhOVZDbPTlzQY2irGLPi5zEbTSmDIwqvv727GAkATyePcA=="
)

# libmp3lame, mono, 8 kHz, 16 kbit/s, 1.2 s, with an ID3 tag and an Info table
MP3_WITH_TABLE = unpacked(
    b"eNqt1ns0VPsCwPGRjmQyeTYIx7NilPEIjVSEZuZ4MyMmgxjNo7yiYtIkjyORxzHyKI88R17JUDFnKORQwphRhF6jmKSjIsnsO7t7171r3f/uWvez91q/315r77W/"
    b"a6/f+q2NcbTYCAHp+3h7O0nGrRCItEvwmTAr8z1mkhNpDvkP4I1N178vMOFhEf+8H6IMgUDTIL+CECAbkONPnqAAEBV05qckUBboOqj2JzaoGzQEmvjpHegzCACB"
    b"7wXjIP/NQPpfE2jac5Utv0H+N8CbXT0QjY0bHg+ibSCvpJI6Ojo4N/X09PQl42BBrtal5k0QG9Ot84qKisbCqSmgIDjjps0WqYufyIf6AEAc9HKYbGkhmQQnRd19"
    b"UbgomdWUWNtJet+VBKeqhTAAyROpajMAMKsW/C7zr6RP6sBc6SrS1GzwmN6wQQcx4SstwfcM8INwYPiJ8uAzN7Bnu95ky2pOFhmie7ym6C8WKz0XW+VTeYNi0OZY"
    b"HywYL9wchJHHp1a8YXNohKuvcViv4ZsXk+G8GO52TiHW2DE1IZ896v84WSGfyrWx9F0JUTo0/bQJp1duYah4x0+78sqViGfPxr/nhRUv71EYPUuvivrIZBcWH1wt"
    b"woalQKzUAvqUbz7Xc1WifNX26wV7lHQr5VaUn5Cltmswi3ZrwKIajvWGoPcp4nLxYyqx72ZpTuL3N443V1ttVh/Zu9tj/rhPzm2Wn7DKfuhENdTMynx7zxjiSt9Q"
    b"Qy2OEyv++i5XLcaTzl+baKj19fysX7c93RBjVMsAxjmbCZLvtOI120JnNeABMec9tsgffh8Ylcduq031gu2KIbi8BXtg2smw5WiCz/n2I2bCUwkTzOGytxd1/NQH"
    b"2jnh7XWnaZ4FNy1TXimUmAxfDbPGqOaccHf3YuXdu971I3CHjEiLtcjg4wXFCO+XHnemT9Hav/POPXegCK25XHca/q54v6kpigusTTvB2cCXZdG7/glbOmGN0qaj"
    b"pC6EzKZR7WMDq9qE5BP7cXMDf0iDPfBfT26bPSTpCYKpbOWR7IxtJ+63cbytd0ihuu5YwuXTR3N5j4byjWKolNVk1uU3rOYTp+Xa2YxljvG87YbOKuI6YxEboaHj"
    b"Ep1J9wXmOlvPJR7tpXv9CazPOv2d9rZzYDG8dMo/50pttX9fOWLGNbtMWn0UZq3d6CPaXcBna6haO4RSpYbdRu0C3MEeTX1L2OtDND6EWhc3N3CK2thH0q01oGwZ"
    b"7+txZmfoR3IuB4QWedVXjtrmb3VE5kJS9400oDqIHW6lvofLzPZdo/rG+8YLqobrTQdVzFw41PHGlQYtDYsrIemfFwMWAhZcZ3sxl1JQDFeR5KjuPWJs5Fy604F/"
    b"WrY8NUTBQtY1FabQfXJbklzS8zbmz/Wj3aP0WYngdt5hauUrjRdsJV1cg4y1Q83fCmA0tltsdVNmncsoj9P9M/zcHIklGKQkNzod1wlm3n6isZfdsEDzHG6Vnh+Y"
    b"ookCsfyxY+fkTa0EAFBlniOfQAPoa9PW6VB/0kFsvFcman+vM2mEvk7lNss7K3u8D3GKd8ZqPom+70mmLi+gegqgQ2CPhtYW2BKV4INOnj3S+Zfztbw7K5W8nmwF"
    b"SylDhwxX+Obbm5UCnGTbmIPot3tMlWWCkmc9m9yni2MqWCYahmdqAoH5pRFERPWMuHhgEB7AAtbPVrYGsBli/lxrWO+RE+r8Cz11qTFSe9Xwzkr2UraJG4QnB+0q"
    b"qD5PNfmL/vYySkP3brjTxgbjLUrG68GeXVqWcitKBJ+Y1YtHm50KjlS7WWfFRQn8TFG4kVDFxGiFb9m6ISyR+1psHms/9MMyGwGEM8v/lhkYbwcAjt68ZJ0CnErP"
    b"qBjeCoBdjGv0uYe79dV40lxL26AomH1tJBPz4kP3UET8ZIW9zgNDKJZvF0MjlWP/SIhbiuy+izmWo197tSX0+mhvoX8n2GOlmQFb8iD47O+8ah4K1ddRjm6dyJtp"
    b"YhtdS8PSxcs1bJon5UF3dHUjAKwh0CGvB8aaAPEKs5wu4ALjdCz2GidD3IOLTVKwVDua7SGTZuY46Vu8aFwFT39X8uJtgqwzZaDkK17QyOXbP354+UHio2DKqErx"
    b"zpYrKpnygrwHxaqKaeVIv6i8uN9q7oM9zlonYWuakvXz5eB0RuohjrqV6DtdcLcHbs5uAIAF1M7J9bmF8bgRx/MkYskM8Fn4zI0Y9WGtHlubjySj6JqREJP9UmSZ"
    b"npmZqXv2os9cf7Q04WloHJNZfqeaGx56/JcMqdlUtCkKgQ7YZBqPar1q6qmWFyTlDYuhTXTgSxtH+r1wOSIsAOBLFcEeb60tW6Ha6DGDeWAx4kuDhl3WbxOSjX+5"
    b"FH6fTQEmq/xzzhOJsf3uz3r4nFH5DWo6Kb0riDL/oLwa4hfWEGe+QaELPqYR4j1STpjODGysQUJFW+T08uECZPmDN9GoJ/sDd3x6M2n7/Onv1i9Z4xHAmjfJauc4"
    b"Y6VmEduSVdYsdO+cAcRZOzK0Z4B1sCdYcwy2FE3jb7SubyUKar4zqnlhNp2cD85Nx1WXm1W0PV4Z/KKrOwB3wBiWEHnUdRJewf40BrWVPt1OGL0eURd60g26lrzu"
    b"uGQBy1XpfARVyRiIrnr89pGxlotDd/aEAAgU4b0+HaZPrtNmfckPN/bmiUZLgcU4tdoWayxjZaXzlHK+cwNjTcy7WQ32RGrFyHxEe7sVKHMyI6bKBWWa2lhkthRU"
    b"tg1OqlximsbjFrB9SMXwlB0cn7PEzFOTBZhXFyJfuAQ4dlXswnz+vSnA9SCy0PzwuR+qe9Xt7nMBNhm7eQC36B7ege/QtVGMk+yS4hIiInSmet1a1NlfTX5gdxAQ"
    b"uVZ82BlH6bvZUdJjONmlpHEaLf8cCvYkaH7ZtuQl6QmDIvZVC5lEfQbi69ibei2Uud0C9lT8muDQQwWdoLQRg+vHzhOKhFBjlwqj0X3qx5GthonmzFvE1umxRl4V"
    b"GQPDmi+MA1VWnksbHx1hI9oDLzAp5F5eBADEtWyWoglK1+8vxkGvzGH5a0gVbRMFl5AUVvLdEb3e/EER4kbMSAXnPdiToZkn9xF9TCXUJ3CTGrHQeK+d6Dqr9vkC"
    b"H2P2DK6Gc78me0KWnCunt6t2SXa6za+ym0RhZgX3b28jsetuzTSNE6kFN3SKd99qok/UeI/jjhRcKujOV9tuFAsAOIJ7bfaBmsamCIAz+15ZPZ4j5gZyflGW7y9X"
    b"fuRVxJFlyuVsYx+m8hXQByws2+YIYM91/Y0yH71dyZA5zWh23UlGaZ2c31yCSXXrLSKEvqmvIMolHmfEkkfPsfPGxuINzxRdTa1vuxYwYzPVn6U3aIexunTR2IY3"
    b"OndWaNzgmr/aMH0nzhquemC1805hQYJspkJDJ0PcSrMj5Z8htaoa9biTIj+I8SQez3LE6nVRpXNKlzLu7NWD3wTcLOELsOePvYPx834FXZBb+MosPRPrPQ2TzHsh"
    b"e/gDB4QOtQtjgn0nAECyKgDg22FYghUDeBzZ+/LC34+4FojIFi7DtqhvfXypqH35m4uq0Mm5TtMQhy8op15KKRrzwVXmeHo7byjbpqklHUzBJZLEOAYgpp0vNkEj"
    b"YAbZKu9P//hQr2Eiz3hYdZgWk57E/QT2HNAwgx2D9iMh5NqTqqijqDLaqq9semq3x2hi1SYG/kH57V1U+V22wiBeYs1lt8uHPcjNZ1zsXZ0sJP/QyLr/r38A+OjI"
    b"0A=="
)


# --- what it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(opus(1), Voice("audio/ogg", channels=1), id="Opus, mono"),
        pytest.param(opus(2), Voice("audio/ogg", channels=2), id="Opus, stereo"),
        pytest.param(OPUS_STEREO, Voice("audio/ogg", channels=2), id="a real Opus file"),
        pytest.param(opus(1) + opus(2), Voice("audio/ogg", channels=2), id="one file behind the other: the most channels"),
        pytest.param(opus(2) + opus(1), Voice("audio/ogg", channels=2), id="the same, the other way round"),
        pytest.param(
            opus_head(1) + opus_head(1) + page(b"OpusTags") * 2, Voice("audio/ogg", channels=1, streams=2), id="two at once"
        ),
        pytest.param(page(b"\x01vorbis" + bytes(22), flags=FIRST), Voice("audio/vorbis"), id="Vorbis"),
        pytest.param(page(b"OpusHead\1", flags=FIRST), Voice("audio/ogg"), id="a head without its channels"),
        pytest.param(page(b"data") + page(b"OpusHead\1\2" + bytes(9)), Voice("audio/ogg"), id="a head that is none"),
        pytest.param(adts(5), Voice("audio/aac"), id="AAC"),
        pytest.param(id3(adts(5), 300_000), Voice("audio/aac"), id="AAC behind a tag longer than any head"),
        pytest.param(id3(bytes(50) + adts(5)), Voice("audio/aac"), id="AAC behind padding"),
        pytest.param(mp3(5), Voice("audio/mpeg"), id="MP3"),
        pytest.param(id3(mp3(5), 300_000), Voice("audio/mpeg"), id="MP3 behind a tag longer than any head"),
        pytest.param(id3(b"\xff\xff" + bytes(500) + mp3(5)), Voice("audio/mpeg"), id="MP3 behind padding and a false start"),
        pytest.param(MP3_WITH_TABLE, Voice("audio/mpeg"), id="a real MP3 file"),
        pytest.param(b"\xff\xfd\x80\0" + bytes(413) + b"\xff\xfd\x80\0", Voice("audio/mp2"), id="MPEG layer II"),
        pytest.param(id3(b"", 100), Voice(), id="a tag and nothing else"),
        pytest.param(id3(bytes(5000) + mp3(5)), Voice(), id="a tag and too much padding"),
        pytest.param(bytes(3) + mp3(5), Voice(), id="padding without a tag"),
        pytest.param(b"ID3", Voice(), id="three letters"),
        pytest.param(b"", Voice(), id="nothing"),
        pytest.param(amr(0, 7, 8, 15), Voice("audio/amr"), id="AMR"),
    ],
)
def test_what_it_is(data, expected):
    assert facts(data) == expected


# --- its end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [opus(), OPUS_STEREO], ids=["made", "real"])
def test_a_cut_ogg_file_is_seen_but_between_two_pages(data):
    """The last page need not say that it is the last: recorders forget it."""
    between = [at for at in range(1, len(data)) if data.startswith(b"OggS", at)]
    assert len(between) > 1
    whole = [length for length in range(4, len(data)) if not facts(data[:length]).truncated]
    assert whole == between


def test_a_cut_is_seen_where_the_last_page_reaches_beyond_what_was_read():
    data = opus_head(1) + page(bytes(100)) * 500 + page(bytes(60_000))
    assert len(data) > 2**16
    assert [facts(data[:-missing] if missing else data).truncated for missing in (0, 1, 1000)] == [False, True, True]


def test_a_cut_amr_file_is_seen_but_between_two_frames():
    """Every mode has its own length."""
    data = amr(*range(9), 15)
    between = [len(amr(*range(count))) for count in range(10)]
    assert [length for length in range(6, len(data) + 1) if not facts(data[:length]).truncated] == [*between, len(data)]


def test_a_cut_aac_file_is_seen_but_between_two_frames():
    data = adts(3)
    assert [length for length in range(111, 313) if not facts(data[:length]).truncated] == [208, 312]
    assert facts(id3(data, 100_000)[:-1]).truncated
    assert not facts(id3(data, 100_000)).truncated


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"\n", bytes(50), b"APETAGEX", b"\xff\0\0\0" + b"\xff" * 5])
@pytest.mark.parametrize("data", [opus(), amr(7, 7), adts(3)], ids=["ogg", "amr", "aac"])
def test_junk_behind_the_end_is_no_cut(data, tail):
    junk = b"\xff" + tail if data.startswith(b"#!AMR") else tail  # zeros are frames to AMR
    assert not facts(data + junk).truncated


def test_reserved_modes_end_an_amr_file():
    assert not facts(amr(7) + b"\x4c" + bytes(5)).truncated
    assert not facts(amr(7) + b"\x3f").truncated


@pytest.mark.parametrize(
    ("data", "truncated"),
    [
        pytest.param(with_table(b"Xing", 41_700, mp3(100)), False, id="whole"),
        pytest.param(with_table(b"Xing", 41_700, mp3(90)), True, id="cut"),
        pytest.param(with_table(b"Info", 41_700, mp3(90)), True, id="cut, at a constant rate"),
        pytest.param(with_table(b"Info", 41_700, mp3(97)), False, id="a few frames less than told"),
        pytest.param(with_table(b"Xing", 41_700, mp3(90), flags=2), True, id="without a count of frames"),
        pytest.param(with_table(b"Xing", 41_700, mp3(90), flags=5), False, id="without a count of bytes"),
        pytest.param((b"\xff\xf3\x14\xc0" + bytes(20)) * 2 + b"In", False, id="frames too short for a table"),
        pytest.param(((b"\xff\xf3\x14\xc0" + bytes(20)) * 2)[:40] + b"Info\0\0", False, id="a table that is cut"),
        pytest.param(with_table(b"Xing", 41_700, mp3(90), at=21), True, id="mono"),
        pytest.param(with_table(b"VBRI", 41_700, mp3(90)), True, id="the other table"),
        pytest.param(with_table(b"VBRI", 41_700, mp3(100)), False, id="the other table, whole"),
        pytest.param(id3(with_table(b"Xing", 41_700, mp3(90)), 100_000), True, id="behind a tag"),
        pytest.param(id3(with_table(b"Xing", 41_700, mp3(100)), 100_000), False, id="behind a tag, whole"),
        pytest.param(mp3(100)[:-100], False, id="no table tells nothing"),
        pytest.param(MP3_WITH_TABLE[:-2200], True, id="a real file, cut"),
        pytest.param(MP3_WITH_TABLE[:-1000], False, id="a real file, a little cut: that much is granted"),
    ],
)
def test_the_end_of_mp3_is_known_by_its_table(data, truncated):
    assert facts(data) == Voice("audio/mpeg", truncated=truncated)


# --- bounds and hostile bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"#!AMR\n" + b"\x7c" * (MAX_UNITS + 10**6), id="frames of one byte"),
        pytest.param(page() * 10**5, id="empty pages"),
        pytest.param(page(*[b""] * 255) * 10**4, id="pages of empty packets"),
        pytest.param(opus_head(2) * 10**5, id="heads without end"),
        pytest.param(b"\xff\xf1\x50\x80\1\0\0\0" * 10**5, id="frames of eight bytes"),
        pytest.param(id3(b"\xff" * 10**6), id="false starts"),
    ],
)
def test_work_is_bounded(data):
    """No byte is asked for twice but a few at the seams."""
    _, asked = drive(data)
    assert sum(min(length, max(0, len(data) - offset)) for offset, length in asked) < 1.2 * len(data) + 200_000
    assert len(asked) < 100


def test_it_gives_up_behind_so_many_frames():
    assert not facts(b"#!AMR\n" + b"\x7c" * MAX_UNITS + b"\x04").truncated
    assert facts(b"#!AMR\n" + b"\x7c" * (MAX_UNITS - 2) + b"\x04").truncated


CORPUS = [
    opus() + opus(2),
    OPUS_STEREO,
    MP3_WITH_TABLE,
    amr(*range(9), 15) * 2,
    adts(5),
    id3(bytes(50) + adts(5)),
    id3(with_table(b"Xing", 9_000, mp3(20))),
    with_table(b"VBRI", 9_000, mp3(20)),
]


def mutated(rng):
    data = bytearray(rng.choice(CORPUS))
    way = rng.randrange(3)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 1:
        other = rng.choice(CORPUS)
        return bytes(data[: rng.randrange(len(data))]) + other[rng.randrange(len(other)) :]
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(min(len(data), rng.choice((60, 10**6))))] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
    return bytes(data)


def fed(data, rng):
    passing = Passing(walk_voice())
    while data:
        size = rng.choice((1, 7, 100, 1000, 10**6))
        passing.feed(data[:size])
        data = data[size:]
    return passing.end()


def test_hostile_bytes_never_raise_and_blocks_make_no_difference():
    rng = random.Random(7)
    seen = set()
    for _ in range(3000):
        data = mutated(rng)
        voice = fed(data, rng)
        assert voice == fed(data, rng) == drive(data)[0]
        seen |= {problem.code for problem in film_rules.voice_problems(voice)} | {voice.mime_type}
    assert {"audio_truncated", "voice_stereo", "audio/ogg", "audio/amr", "audio/aac", "audio/mpeg", None} <= seen
