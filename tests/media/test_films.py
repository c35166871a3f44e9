"""Facts of an ISO base media file, from bytes made by hand and from four real files."""

import base64
import itertools
import random
import struct
import tracemalloc
import zlib

import pytest

from airflow_provider_360dialog.media import film_rules
from airflow_provider_360dialog.media.descriptions import ENCRYPTED, UNREADABLE, Codec
from airflow_provider_360dialog.media.films import MAX_BOXES, MAX_BOXES_OF_LEVEL, MAX_PAYLOAD_BYTES, Film, walk_film
from airflow_provider_360dialog.media.walks import LARGEST_RANGE_BYTES, Passing, walk_over
from tests.media.builders import box
from tests.media.film_builders import (
    AAC,
    FTYP,
    MAIN,
    MDAT,
    avcc,
    bits,
    ctts,
    esds,
    full,
    long_box,
    moov,
    mp4,
    open_box,
    picture,
    sound,
    sps,
    stsd,
    trak,
    u32,
)


def facts(data):
    return walk_over(walk_film(), data)


def codec_of(entry, handler=b"vide"):
    (track,) = facts(mp4(trak(handler, stsd(entry)))).tracks
    (codec,) = track.codecs
    return codec


def drive(walk, read):
    """What a walk finds, and what it asked for, in a file that exists only as ``read(offset, length)``."""
    asked = []
    piece = None
    while True:
        try:
            asked.append(walk.send(piece))
        except StopIteration as stop:
            return stop.value, asked
        assert asked[-1].length <= min(LARGEST_RANGE_BYTES, MAX_PAYLOAD_BYTES)
        assert len(asked) < 2 or asked[-1].offset >= asked[-2].offset
        piece = read(*asked[-1])


def reader(data):
    return lambda offset, length: data[offset : offset + length]


def unpacked(text):
    return zlib.decompress(base64.b64decode(text))


# Real files, made with PyAV 18.1.0 (add_stream of the named encoder, 8 frames of 32 x 32, or 2 of 128 x 96 for H.263, and
# AAC or AMR of 8 kHz, mono), then zlib and base64.
# libx264 profile=high bf=2 b_strategy=0 crf=51, and aac; the index is last
HIGH_B_FRAMES = unpacked(
    b"eNqVVl9sFEUYn91rK4JCiUXQVBgDvNHr7vZ61iZrrqnEkkAwIfbBmKyzO3O3S/dfd+baOx6kDzxADDyaCLHGB6Mk+mAIajTGGMEno6+SGIMPEgmJJkSBxJTzm909"
    b"blsK0c19O998f36z33y/2T2EEK6LduzxKEBIRXIEMciCowdxRUcIbagnjCFUIgElAmLeHejvdM79vP/6V9euzHz21r6f8JXdf/zZMqoVPIKdKGFYr46DOlMG0+ih"
    b"l/e/NFLBU7PT4KPMAcd0FLd9VhfY0LSxEUMzZLQrRDw5Orq4uFhe8CiLfBKWo6QxKnHLrgh8iIli4UUhn8QOsYlj6jhhdXMMU2b7kTNn6pPapIZJSPw2Z6bWGpvU"
    b"Wro+hgNmuqyFedMG7Tkc8zakwt1KqKmXNUiCGw68FqOWRNQhw0pI2GCmXsWOm0QBsSBVxyJhvu9x0CZaE9QRoDjzganBIxB6LAqZaej7dB3XCRdWzOe8WEZkAPOx"
    b"FdXrnAlzxMDCTSBDAvlRNEdcmFg9G/c9h/UMGg6TdA3HC4iQz+GFgiU+gSCw234zIW3LiYKYCJg7sEUiIV4IEBCYEBlTT0jAuGlg24rboHs01QklscyxLdsjciXq"
    b"JSyta5F5DVfYoEUxC61GFIM3M8aQOsfagG0a41quWoEXmhOYOyxkTlOYFQ2ni8sdTRh3ITtxrHvVSn/imE5Sx4EN2yqrgok5Dg3B87IWUytXQY0lbjqSlll9HhQu"
    b"WGxWsBdDj4AP0ELAIvPQftlMtASU3cpOnih1ztz8unzx1M6Bo9qL58D4xNTZ3f7xvw//OLvJvn36U3f6ix19YH58anmq1blbunD70Zv88i8qOgjcrxplY6KsawZS"
    b"tdpmiNqkLNtHj6/E1344c0vZgR/J8OoHPpxy3z64pfPP0CfqjZWV93LX4NTyif1bRzu35pvfH9s5/roJto3K8vtHj989/U1tPI04+wEk+zL5rwsXAzh8/deDKFoA"
    b"nx8suBStukq/p6Ig+etdyuqotfMaeuhVgsP8HbRoDvTXxFy6Zul+NLn2w9dZd12cC0J7GBUcxmHmc9HLkLiDea76QkA9IjMCurZ2iTaDXrmUTkZc6iddj3xRFCNn"
    b"5YtjhoTUZzJGuQ7cqYMytBCkoMXH3EMz3zAFghbKeKyZ+DjTlfNc2D7oH3PBaSHmHfl2fMBWyKIxPC9KZf2ItdeOTgfuY4A6rVC0sfMrerIB40dXDrg12RK49ZUu"
    b"nWJLChpwb1xl+95cuXNHJg7B0cl39KmrXTAu0t3uLr0h/UEsFFG0S6k5vdiBzDaY+9PWqXnuOvM0rgKYTo9NKWZ3VAvr9BXsMudYoXgAVD+Hcbs8tyBbcn0IZHM+"
    b"Yi6cKI+XWBrA7QWZADkC+YcewmI1L3mmyFfl/5+eB7A4x80ALz+YxbsAbmNtPRbzqBkWI4/AnBZYHOcsHuTBKtD/wuBKzuA31jA4hG87ua9sJevqrqzyKuM0JUdp"
    b"aWlpL+xjH4zba9tS55fwmlW/7QdL/7aTs7+hAdAUdTUls5isffdopmbSl6+syrWGCzRS1gheQxfZ2m05Dfqy3HvUAF8JKihVQA7D/GneiKkESSLf71IyPWvD3G7E"
    b"qOcpEtduUiH35tWAie4ePVtsGDQ5IXHsF5s24mWs2HteRPJxnoH/SqS7ufBFqcMXRTfkF+VfMcLhAw=="
)

# libx264 profile=main bf=2 b_strategy=0 crf=51, without sound; movflags=frag_keyframe+empty_moov
FRAGMENTED_B_FRAMES = unpacked(
    b"eNqVVd9rHEUc301oLVFqlFDzoDKhERRzd7vb5EwDCzli6AktiGgRUZbZndns9nZ2JjNzl7u+RKUFQfBFqrVCfFG0b6VY9EFBwQf/AB9a8cEGEYulIoIvpp7f2btr"
    b"LgdWnNudz/f7ne+vme935yzLmo11R6SKM8saswzCW4XXw63IZWLeBflVxnnLsqyMtRJi7RnjvxRgF8/usPdqjfLL1l3HGBh8ryVuAP2ybhQxx+/i/f/FRf3XsluM"
    b"pNhwjIzuq5fhC98UUEpIJgcrrZTQYc2TwPM6zklGjY49w9I8BmKqxQqnwynMkt7aw0TSeCjF+5oyQ336utJhBnhOaUWGdM6agvzrASD41QHr/3lEgzHd7cJcAa8r"
    b"9onlie5169Aa4M0PP0XmtM00Zm8/ffkr29qf/PojnXsV1CeV1mrICfAqGuKngD89Egh0Ij7EP85atG1S1rLAQbqjKYdNok11XmK0QDNmhisB1ZNYiGzYqJRmSgM+"
    b"dlFzE/QRggvjwvlx3IqrXtmFx/GAvwR9bcowyeJk+KjPQ+8Z+azuyY/uZje2Y1kHDF6xe5IpHRM9kvqLWjZzy5rYZ/WUPx/r2V6BUIY41G/Ag73lOziQT/b5e/s4"
    b"3bMbX2SwG/Dzwf593e77P6ze+PLna/XP3pm7iq4dvvVb26vOoxKKuKTIrS4AWS+DqHLi2dVjpXlUO7kCa4RGsLDCRSejsUae4xwpeY5ntBOtxVKlsrGxUTY9zjOc"
    b"l7lcqxi/5USzDHS40CnP1RKKcIgj30XQx/4RRGiY8ajhu0vOkoNwjrOOor7TBr7tui5i1E9oG6lmCNRTSKgOmMIcSOK7ZQeMYEIsbVMSGI/GIpA4X6O+W0VRIjnD"
    b"AZi6pmeyLFVALbYXSaR9B0XrDGZCMTnNc+p77hxEjLHSgVCNVIBq38G6CHgcK6r9kod0IsHCOMo4b+AEmGBXprI0orsCB+WyiBGlDGuTR5prKjMMSiAPs6bEnSDi"
    b"TOAiIzgiaKE0BxegKLHRiSVmVPkeCgPRATolBY0JFsYmDMIUm0jQ1BT25aINmq4lOgSKC5oHa1zAak8owLRBO+Db9xacPhnAxeMvIhXRnEZN7c87qAhuTlRSlYC1"
    b"jII7uzXrMvIjGSMWwrGaXQHjL0BB0LrZi++Uq0AK47dA3ParR4FQmgp/HqUCagT9ACUEX3gdym+KaZmL4iB948x49/cnnlPLU49+MQOSB2sXDmebf988tvPKtxfP"
    b"/XG+zcwdO1HbqrW7t99+6/kbhrO3wlObt7Nb28s9i/iZT2rJe8fv7/411dh+6PU3zV1Z2zqz+kCl+6d4d/pr4O+xtz46tfnTa+ZbrF34GAyywqB+9tLl74IDTZCv"
    b"MDh8wCc1oL33guzj5OCvZ8cuPmy4EuTg0lr5B251lS8="
)

# libx264 profile=high422 bf=0 crf=51, yuv422p10le
HIGH_422_10 = unpacked(
    b"eNqNVE2IHEUUrtmNYQk55LDgD6vUYkSEnd7u3tlxGChIWEIGVFCDOYjY1FRVbzdT1dVbVTM7s6ccElhYDOTiUQI5edCbehKFBHIIeDbgxUtQhIge9+D4qmc32xmN"
    b"WFTV+//q1XvVjRDCqZuUudUKoQXkKayYjlikylaEEFpKjRBgu604dUD7p5+bTj/+6dKv3z562Pvm07Uf8cNXH/8+jtst3MRMG4Gj9iawvQBU6++8e+lys4UvXt0C"
    b"GxcMDFu6nEiROhyH4UYzDmPvnTlXdtfXd3d3g1HOhZa0CLTZXve4QeaUBB9dulwXtosZ7VNGImxESjYwF32p2YBE3bAbYlpQObGChOONbjiOog2sBMnEGNthH7g3"
    b"cWknEAp7YjiJghCCYMMqHwueeMQIIhJDi21BojZmmdGKJhAaYWeElLkFrjPucOaAYTuKhJAC5Xu6ECSO1qIIp9S6pLSDvPQeM4CdMtFpaoUjzRi7zECEB5JaD2gG"
    b"QnKiszJn4kQR4sJUZ7BcUefzyAsnjKTgBPq+HBo6SZhWJXUgMyiRMzQvAAIcDfU+qaFKeKhdkW9nriQxHogJmEm8GR6xicoL0sGWiUKwoSOtEFfxvihG2AyiDUue"
    b"JOzthhFmUqz6UBmfGAhkE2qKd3w6JAzawJYet6J0TDoRMNaJkrRwXkKZoaXQBcCiO9BB3w90DV7dObF/fXrzz++Cr/bDOz988d4d0L10cf9g+scbL77/6PH9G/TU"
    b"zdc7ywe9u5/gBQYRi6tK6xF4STXKOHpqLP4C2yFqID9PRuNpr3n5AvrPsQDzLSjPAPiP3KA6c/Ff0A7/Efl/zsVHC6HzgjsLdEVI62oRhyexjbuK59RHKD5/d492"
    b"Dn1wrxKaGZfm2OK/s7rnVf/d9WjBpfA+jQL6lgKzPFIVaD3N83xmW+HwOGpJnR0aiWd8I7CuL4H/0jrLaz6f+Z/LM0rhL41RD2jvmR7z44XpFPYWoG419tCZ6c/o"
    b"+W2gXz9YbS75llTbtfGt+EIDnc5++16sHfx1WFVvGd7tUUmvPEGzrir38dnQ5qXKF25R1/u1Ajo2p1uo2fbmnouXX5lhMV2LC2H1h9z5Fn6oREX9WK23C1psaFnK"
    b"+tWb+exNvPa50x7wZfhF0+OivU1HaTsOIphh/Dc3wk8Q"
)

# h263 and libopencore_amrnb in 3gp
H263_AMR = unpacked(
    b"eNrtVltoE0EUnU3C9kEfilXWNmI/xAc+WhNrjZXWCkoFn/j6UdltNjGh2W7NbgMV0ayFCsUqgoIgYiTgj6IWfxRfqfWFSC2KUgS1KlSRWgKiaFDHyXbNnUQj6odf"
    b"O+zszL1z5syde+7HIITsXrWtxbmtZR5CFpQc/Yoske5ACOV6gx4PQuP8kiioCIUtNtvCabF5nFzZeInpu7XiE9teOFSwiXcN3DmO+oXLPZ3DOTUTnYOlBdVH5m4J"
    b"v3bvxh9Wh32Vz/ibIeuxfRfjhWzZPe5MTOk+XMtEetvaxw8UhRyvgRHjYYroPBA5dlrrO96zM8/Zh733U4xdGD8FIidFpEJo94GxDOPrQOSjiPIgtCgwVmN8CIge"
    b"AlHpOghtFTDKGC8HolNAVEVl7TQwPsffHgLRViBqgqx1tQHjNZww02+m30y/mX4z/Wb6zfT/z/THbO5Ft+NumwsPkqeRrZq7HZdszlFjPlnZZqvSDfJOKmJzrU98"
    b"Xzg50nhF63u1PRoXrmqdH3Nquk4e6OlIsDMH7CPVpXVs2RvuLK9cwLj3GaA1QA+l0AvS0C8BfTCF3j81hXaloYcAfQLQ3hR6YRr6LaC7AQ1x16ShR6hbssjLxIsq"
    b"LuTyPTt3zVhTUByrDLePFNdrOaw1iiKVtW+P9vP1X6P9LXVz/m1bHe594PvE8XzjHq1v0trooKBpnfk5C1qnHtA6WHb6dPuLR6W1LMdxkYiydzfufQxoAdDeFPpx"
    b"GtqUzJTMlMyUzJTMlMyUzJTs/0oWI+/I9ZIsh8gLMiCFfCJKa9Y35JdADEp+0Jh0VKa9GP22WRGyTFCDQhOZb1ab9DOtv2BL/LTzT84Nk87r5hSPqCpktHsCikrt"
    b"SMBeZr8k+gUyKZfEzLsn2cagDTd0Y7ZPDAR/rIT8oodGbiS23CA0iwFPEsO4JH+zl0xKQpJOSoc5RRxds4tBj5cKqqA1GCg35p8VtTFAxlZFVUQK41Ec851ZUpG8"
    b"OI8ayNiQFZHZOIzJv1gkrMuWrVyD8nWnoupZ+0FhQSg3OS8hwdD+ZLcTnzvDR6/toA4jPHnEn+8aPcMtgx/NImvryba7v6kKizFW0Pozf1+N2aqigqqKJdmrYjKh"
    b"Y4K/qgpFbm2mkeuILUJVoHdGVYxRpDTSP6mIbqMilmZURJUiSMGfrs2QujVCJW2sSDC6vhrWQeWUwhajRwwCRxZVrcZYQqlaaPhLKDUJJm/2d4LZuZQ="
)


# --- the whole file -----------------------------------------------------------------------------------------------


def test_a_plain_video_is_described_in_full():
    film = facts(mp4(MAIN, AAC))
    (video,), (audio,) = film.pictures, film.sounds
    assert video.codecs == (Codec("H.264", profile=77, sampling="4:2:0", bits=8, width=640, height=360),)
    assert audio.codecs == (Codec("AAC", channels=2),)
    assert not video.reorders
    assert film.brands == ("isom", "mp41")
    assert film.duration_s == 2.5
    assert film.mime_type == "video/mp4"
    assert (film.has_index, film.index_first, film.has_media, film.complete, film.index_read) == (True,) * 5
    assert (film.fragmented, film.cut, film.truncated) == (False,) * 3


@pytest.mark.parametrize(
    ("data", "codecs", "reorders", "flags"),
    [
        pytest.param(
            HIGH_B_FRAMES,
            [Codec("H.264", 100, "4:2:0", 8, 32, 32), Codec("AAC", channels=1)],
            [True, False],
            (False, False),
            id="High profile, B-frames and AAC, the index last",
        ),
        pytest.param(
            FRAGMENTED_B_FRAMES, [Codec("H.264", 77, "4:2:0", 8, 32, 32)], [True], (True, True), id="B-frames in fragments"
        ),
        pytest.param(HIGH_422_10, [Codec("H.264", 122, "4:2:2", 10, 32, 32)], [False], (False, False), id="10 bits in 4:2:2"),
        pytest.param(
            H263_AMR,
            [Codec("H.263", width=128, height=96), Codec("AMR", channels=1)],
            [False, False],
            (False, False),
            id="3gp with H.263 and AMR",
        ),
    ],
)
def test_real_files(data, codecs, reorders, flags):
    film = facts(data)
    assert [codec for track in film.tracks for codec in track.codecs] == codecs
    assert [track.reorders for track in film.tracks] == reorders
    assert (film.index_first, film.fragmented) == flags
    assert not film.truncated
    assert film.complete
    assert film.mime_type == ("video/3gpp" if film.brands[0] == "3gp4" else "video/mp4")


@pytest.mark.parametrize("data", [HIGH_B_FRAMES, FRAGMENTED_B_FRAMES, HIGH_422_10, H263_AMR, mp4(MAIN, AAC)])
def test_every_cut_of_a_file_is_seen(data):
    """Wherever it breaks off; a fragmented one may miss what stands behind its last fragment."""
    end = data.rfind(b"mfra") - 4 if b"mfra" in data else len(data)
    assert end > 300
    assert [length for length in range(1, end) if not facts(data[:length]).truncated] == []


@pytest.mark.parametrize(
    ("brand", "traks", "mime_type"),
    [
        pytest.param(b"isom", [MAIN, AAC], "video/mp4", id="a picture and sound"),
        pytest.param(b"isom", [AAC, MAIN], "video/mp4", id="sound first"),
        pytest.param(b"isom", [AAC], "audio/mp4", id="sound alone"),
        pytest.param(b"M4A ", [AAC], "audio/mp4", id="sound under its own brand"),
        pytest.param(b"M4A ", [AAC, MAIN], "video/mp4", id="the tracks overrule the brand"),
        pytest.param(b"3gp4", [MAIN], "video/3gpp", id="3gp"),
        pytest.param(b"3gp4", [AAC], "audio/3gpp", id="3gp with sound alone"),
        pytest.param(b"isom", [trak(b"text")], None, id="neither"),
    ],
)
def test_video_or_audio_is_told_by_the_tracks(brand, traks, mime_type):
    assert facts(mp4(*traks, brand=brand)).mime_type == mime_type


def test_video_or_audio_is_told_also_where_the_index_lies_far_behind():
    """The head of 64 KiB leaves it open."""
    assert facts(FTYP + box(b"mdat", bytes(300_000)) + moov(AAC)).mime_type == "audio/mp4"


# --- order and end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "index_first", "truncated"),
    [
        pytest.param(FTYP + moov(MAIN) + MDAT, True, False, id="the index first"),
        pytest.param(FTYP + MDAT + moov(MAIN), False, False, id="the index last"),
        pytest.param(FTYP + moov(MAIN) + open_box(b"mdat", bytes(50)), True, False, id="media up to the end of the file"),
        pytest.param(FTYP + MDAT + open_box(b"moov", MAIN), False, False, id="an index up to the end of the file"),
        pytest.param(FTYP + long_box(b"mdat", bytes(50)) + long_box(b"moov", MAIN), False, False, id="sizes of 64 bits"),
        pytest.param(FTYP + moov(MAIN) + MDAT[:-1], True, True, id="one byte is missing"),
        pytest.param(FTYP + MDAT + moov(MAIN)[:-1], False, True, id="one byte of the index is missing"),
        pytest.param(FTYP + moov(MAIN), True, True, id="an index without media"),
        pytest.param(FTYP + moov(MAIN) + MDAT[:7], True, True, id="cut in the header of the media"),
        pytest.param(FTYP + MDAT, False, True, id="media without an index"),
        pytest.param(FTYP + open_box(b"mdat", bytes(50)), False, True, id="media that was never finished"),
        pytest.param(FTYP + long_box(b"mdat", bytes(50))[:-1], False, True, id="cut media with a size of 64 bits"),
        pytest.param(FTYP + moov(MAIN) + MDAT + box(b"free", bytes(50))[:-9], True, False, id="cut padding is not missed"),
        pytest.param(FTYP + moov(MAIN) + MDAT + b"SEFT" * 9, True, False, id="junk behind the end is not missed"),
        pytest.param(FTYP + moov(MAIN) + MDAT + b"\n", True, False, id="a line end behind the end is not missed"),
        pytest.param(FTYP + moov(MAIN) + MDAT + box(b"moof"), True, True, id="a fragment without its media"),
        pytest.param(FTYP + moov(MAIN) + MDAT + box(b"moof", bytes(9))[:-1], True, True, id="a fragment that is cut"),
        pytest.param(FTYP + moov(MAIN) + box(b"imda", bytes(50)), True, False, id="media under its newer name"),
        pytest.param(FTYP, False, True, id="a brand and nothing else"),
    ],
)
def test_order_and_end(data, index_first, truncated):
    film = facts(data)
    assert (film.index_first, film.truncated) == (index_first, truncated)
    assert film.complete


def test_an_index_behind_gigabytes_is_found():
    """Without a byte of the media between."""
    front = FTYP + u32(1) + b"mdat" + struct.pack(">Q", 5 * 10**9)
    back_at, back = len(FTYP) + 5 * 10**9, moov(MAIN)

    def read(offset, length):
        if offset < len(front):
            return front[offset : offset + length]
        return (bytes(max(0, min(length, back_at - offset))) + back[max(0, offset - back_at) :])[:length]

    film, asked = drive(walk_film(), read)
    assert [codec.name for codec in film.pictures[0].codecs] == ["H.264"]
    assert not film.truncated
    assert sum(length for _, length in asked) < 10_000


@pytest.mark.parametrize(
    "index", [moov(MAIN), long_box(b"moov", MAIN), open_box(b"moov", MAIN)], ids=["short size", "long size", "up to the end"]
)
def test_a_track_is_found_whatever_the_size_is_written_like(index):
    assert facts(FTYP + MDAT + index).pictures[0].codecs[0].name == "H.264"


def test_the_first_of_two_brands_counts():
    assert facts(FTYP + moov(MAIN) + MDAT + box(b"ftyp", b"3gp4", bytes(4))).brands == ("isom", "isom", "iso2", "avc1", "mp41")


def test_the_first_of_two_indexes_counts():
    film = facts(FTYP + moov(MAIN) + MDAT + moov(MAIN, AAC))
    assert len(film.tracks) == 1
    assert film.index_first


# --- codecs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (b"avc1", "H.264"),
        (b"avc3", "H.264"),
        (b"hvc1", "H.265"),
        (b"hev1", "H.265"),
        (b"dvh1", "Dolby Vision"),
        (b"av01", "AV1"),
        (b"vp08", "VP8"),
        (b"vp09", "VP9"),
        (b"s263", "H.263"),
        (b"jpeg", "Motion JPEG"),
        (b"apcn", "ProRes"),
        (b"vvc1", "H.266"),
        (b"encv", ENCRYPTED),
        (b"drmi", ENCRYPTED),
        (b"abcd", "an unknown codec ('abcd')"),
        (b"\0\nx\xff", "an unknown codec ('??x?')"),
    ],
)
def test_a_picture_is_named_by_its_mark(kind, name):
    found = codec_of(picture(kind, avcc(77)))
    assert (found.name, found.width, found.height) == (name, 640, 360)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (b"alac", "ALAC"),
        (b"ac-3", "AC-3"),
        (b"ec-3", "E-AC-3"),
        (b"Opus", "Opus"),
        (b"fLaC", "FLAC"),
        (b"samr", "AMR"),
        (b"sawb", "wide-band AMR"),
        (b".mp3", "MP3"),
        (b"lpcm", "PCM"),
        (b"sowt", "PCM"),
        (b"ulaw", "G.711"),
        (b"dtsc", "DTS"),
        (b"enca", ENCRYPTED),
        (b"drms", ENCRYPTED),
        (b"abcd", "an unknown codec ('abcd')"),
    ],
)
def test_a_sound_is_named_by_its_mark(kind, name):
    assert codec_of(sound(kind, channels=6), b"soun") == Codec(name, channels=6)


def test_a_mark_of_sound_names_no_picture():
    assert codec_of(picture(b"alac")).name == "an unknown codec ('alac')"
    assert codec_of(sound(b"avc1"), b"soun").name == "an unknown codec ('avc1')"


@pytest.mark.parametrize(
    ("object_type", "name"),
    [
        (0x40, "AAC"),
        (0x66, "AAC"),
        (0x67, "AAC"),
        (0x68, "AAC"),
        (0x69, "MP3"),
        (0x6B, "MP3"),
        (0xA5, "AC-3"),
        (0xA9, "DTS"),
        (0xDD, "Vorbis"),
        (0x20, "an unknown codec ('mp4a' 0x20)"),
        (0xE1, "QCELP"),
        (0x00, UNREADABLE),
    ],
)
def test_mp4a_is_named_by_its_object_type(object_type, name):
    assert codec_of(sound(b"mp4a", esds(object_type)), b"soun") == Codec(name, channels=2)


@pytest.mark.parametrize(
    ("object_type", "name"),
    [
        (0x20, "MPEG-4 Visual"),
        (0x60, "MPEG-2 video"),
        (0x65, "MPEG-2 video"),
        (0x6A, "MPEG-1 video"),
        (0x6C, "Motion JPEG"),
        (0x21, "an unknown codec ('mp4v' 0x21)"),
    ],
)
def test_mp4v_is_named_by_its_object_type(object_type, name):
    assert codec_of(picture(b"mp4v", esds(object_type))).name == name


@pytest.mark.parametrize(
    ("audio_type", "name"),
    [
        (2, "AAC"),
        (5, "AAC"),
        (29, "AAC"),
        (39, "AAC"),
        (34, "MP3"),
        (36, "MPEG-4 ALS"),
        (42, "xHE-AAC"),
        (8, "MPEG-4 audio of the object type 8"),
    ],
)
def test_mpeg_4_audio_is_not_always_aac(audio_type, name):
    written = [(audio_type, 5)] if audio_type < 31 else [(31, 5), (audio_type - 32, 6)]
    assert codec_of(sound(b"mp4a", esds(0x40, bits(*written, (4, 4), (1, 4)))), b"soun") == Codec(name, channels=1)


@pytest.mark.parametrize(
    ("config", "channels"),
    [
        pytest.param(bits((2, 5), (4, 4), (1, 4)), 1, id="the configuration overrules the entry"),
        pytest.param(bits((2, 5), (4, 4), (7, 4)), 8, id="7 stands for 8"),
        pytest.param(bits((2, 5), (15, 4), (44_100, 24), (1, 4)), 1, id="behind a frequency that is written out"),
        pytest.param(bits((2, 5), (4, 4), (0, 4)), 2, id="0 leaves it to the entry"),
        pytest.param(b"", 2, id="no configuration leaves it to the entry"),
    ],
)
def test_channels_of_aac(config, channels):
    assert codec_of(sound(b"mp4a", esds(0x40, config)), b"soun").channels == channels


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(sound(b"mp4a", esds(0x6B), version=1, more=bytes(16)), id="QuickTime's version 1"),
        pytest.param(sound(b"mp4a", esds(0x6B), version=2, more=bytes(36)), id="QuickTime's version 2"),
        pytest.param(sound(b"mp4a", box(b"wave", box(b"frma", b"mp4a"), esds(0x6B)), version=1, more=bytes(16)), id="in a wave"),
        pytest.param(sound(b"mp4a", esds(0x6B), version=1), id="ISO's version 1, which has no more fields"),
        pytest.param(sound(b"mp4a", box(b"btrt", bytes(12)), esds(0x6B)), id="behind another box"),
        pytest.param(sound(b"mp4a", esds(0x6B, long_length=True)), id="lengths of four bytes"),
        pytest.param(sound(b"mp4a", esds(0x6B, flags=0x80, optional=b"\4\4")), id="behind a dependency"),
        pytest.param(sound(b"mp4a", esds(0x6B, flags=0x40, optional=b"\3abc")), id="behind an address"),
        pytest.param(sound(b"mp4a", esds(0x6B, flags=0x20, optional=b"\4\4")), id="behind a clock"),
        pytest.param(sound(b"mp4a", esds(0x6B, flags=0xE0, optional=b"\4\4\1a\4\4")), id="behind all of them"),
    ],
)
def test_an_object_type_is_found(entry):
    assert codec_of(entry, b"soun").name == "MP3"


def test_a_configuration_that_is_not_of_mpeg_4_audio_is_not_read():
    assert codec_of(sound(b"mp4a", esds(0x6B, b"\0\0")), b"soun") == Codec("MP3", channels=2)


@pytest.mark.parametrize(
    "in_stbl",
    [
        pytest.param([], id="no list of descriptions"),
        pytest.param([stsd()], id="an empty list"),
        pytest.param([stsd(picture(), count=0)], id="a list that counts none"),
        pytest.param([stsd(u32(3) + b"avc1")], id="an entry of an impossible size"),
        pytest.param([stsd(picture(b"mp4v"))], id="an entry without its configuration"),
        pytest.param([stsd(picture(b"mp4v", full(b"esds", b"\3\3\0\0\x40")))], id="a configuration that is cut"),
    ],
)
def test_a_codec_that_cannot_be_read_is_said_so(in_stbl):
    """Never passed over in silence: it would count as accepted."""
    (track,) = facts(mp4(trak(b"vide", *in_stbl))).tracks
    assert [codec.name for codec in track.codecs] == [UNREADABLE]


def test_all_descriptions_of_a_track_are_read():
    (track,) = facts(mp4(trak(b"vide", stsd(picture(b"avc1", avcc(77)), picture(b"hvc1"))))).tracks
    assert [codec.name for codec in track.codecs] == ["H.264", "H.265"]


def test_more_descriptions_than_are_read_are_said_so():
    (track,) = facts(mp4(trak(b"vide", stsd(*[picture(b"avc1", avcc(77))] * 16, picture(b"hvc1"))))).tracks
    assert [codec.name for codec in track.codecs] == ["H.264"] * 16 + [UNREADABLE]
    (track,) = facts(mp4(trak(b"vide", stsd(*[picture(b"avc1", avcc(77))] * 16)))).tracks
    assert [codec.name for codec in track.codecs] == ["H.264"] * 16


def test_tracks_of_other_kinds_are_listed_without_a_codec():
    assert [(track.handler, track.codecs) for track in facts(mp4(trak(b"sbtl", stsd(box(b"tx3g"))))).tracks] == [("sbtl", ())]


# --- H.264 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        pytest.param(avcc(66, sps(66, 0)), (66, "4:2:0", 8), id="Baseline"),
        pytest.param(avcc(100, sps(100, 0, 1, 0, 0)), (100, "4:2:0", 8), id="High"),
        pytest.param(avcc(100, sps(100, 0, 0, 0, 0)), (100, "4:0:0", 8), id="High, grey"),
        pytest.param(avcc(110, sps(110, 0, 1, 2, 2)), (110, "4:2:0", 10), id="High 10"),
        pytest.param(avcc(110, sps(110, 0, 1, 0, 1)), (110, "4:2:0", 9), id="more bits in the colours only"),
        pytest.param(avcc(122, sps(122, 5, 2, 0, 0)), (122, "4:2:2", 8), id="4:2:2, behind a longer number"),
        pytest.param(avcc(244, sps(244, 0, 3, (0, 1), 2, 0)), (244, "4:4:4", 10), id="4:4:4, behind a flag"),
        pytest.param(avcc(77, sps(100, 0, 1, 0, 0)), (100, "4:2:0", 8), id="the parameter set overrules its wrapping"),
        pytest.param(avcc(100), (100, "", None), id="no parameter set leaves it open"),
        pytest.param(avcc(110, b"\x67\x6e\0\x1e\0"), (110, "", None), id="a parameter set that is cut leaves it open"),
        pytest.param(avcc(110, b"\x67\x6e\0\x1e" + bits(0, 1)), (110, "", None), id="cut before the depth"),
        pytest.param(avcc(44, sps(44, 0, 3, (0, 1), 0, 0)), (44, "4:4:4", 8), id="a profile of intra frames"),
        pytest.param(avcc(110, sps(110, 0, 9, 0, 0)), (110, "", None), id="an impossible sampling leaves it open"),
        pytest.param(avcc(244, sps(244, 1000, 3, (1, 1), 6, 6)), (244, "4:4:4", 14), id="the largest depth"),
    ],
)
def test_profile_sampling_and_depth(configuration, expected):
    codec = codec_of(picture(b"avc1", configuration))
    assert codec.name == "H.264"
    assert (codec.profile, codec.sampling, codec.bits) == expected


@pytest.mark.parametrize(
    "children",
    [
        pytest.param((), id="no configuration"),
        pytest.param((box(b"hvcC", bytes(23)),), id="one of H.265"),
        pytest.param((avcc(1),), id="a profile of H.265"),
        pytest.param((box(b"avcC", b"\2" + avcc(77)[9:]),), id="another version"),
    ],
)
def test_h264_that_cannot_be_configured_is_no_codec(children):
    """The mark alone is a word: no player can begin without the configuration."""
    assert codec_of(picture(b"avc1", *children)).name == UNREADABLE


def test_bytes_that_keep_a_start_code_away_are_not_read():
    """00 00 03 stands for 00 00."""
    parameter_set = bytes([0x67, 110, 0, 0, 3]) + bits(0, 1, 2, 2, (1, 1))
    codec = codec_of(picture(b"avc1", avcc(110, parameter_set)))
    assert (codec.sampling, codec.bits) == ("4:2:0", 10)


@pytest.mark.parametrize(
    ("in_stbl", "reorders"),
    [
        pytest.param([], False, id="no offsets"),
        pytest.param([ctts((1, 0), (9, 0))], False, id="offsets of zero"),
        pytest.param([ctts((10, 512))], False, id="the same offset for all"),
        pytest.param([ctts((1, 512), (9, 512))], False, id="the same offset, written twice"),
        pytest.param([ctts((1, 1024), (1, 2560), (1, 0))], True, id="offsets that differ"),
        pytest.param([ctts((1, 0), (1, 2**32 - 512), version=1)], True, id="negative offsets"),
        pytest.param([ctts((1, 512), (0, 1024))], False, id="an offset of no frame"),
        pytest.param([full(b"ctts", u32(1), u32(1, 0, 1, 512))], False, id="more entries than are counted"),
    ],
)
def test_b_frames_are_told_by_offsets_that_differ(in_stbl, reorders):
    (track,) = facts(mp4(trak(b"vide", stsd(picture()), *in_stbl))).tracks
    assert track.reorders is reorders


def fragment(track_id, *offsets, flags=0xA01, with_first_flags=False):
    flags |= 4 if with_first_flags else 0
    samples = [u32(7) * ((flags & 0x700).bit_count()) + (u32(offset) if flags & 0x800 else b"") for offset in offsets]
    head = u32(len(offsets)) + u32(0) * (flags & 1) + (u32(0) if with_first_flags else b"")
    trun = full(b"trun", head, *samples, flags=flags)
    return box(b"moof", full(b"mfhd", u32(1)), box(b"traf", full(b"tfhd", u32(track_id)), trun)) + MDAT


@pytest.mark.parametrize(
    ("fragments", "reorders"),
    [
        pytest.param([fragment(1, 5, 9, 0)], True, id="offsets that differ"),
        pytest.param([fragment(1, 5, 5, 5)], False, id="the same offset"),
        pytest.param([fragment(1, 5), fragment(1, 9)], True, id="offsets that differ between fragments"),
        pytest.param([fragment(1, 5), fragment(2, 9)], False, id="offsets of different tracks"),
        pytest.param([fragment(2, 5, 9, 0)], False, id="offsets of another track"),
        pytest.param([fragment(1, 5, 9, flags=0xF01)], True, id="with a duration, a size and flags for each"),
        pytest.param([fragment(1, 5, 5, flags=0xF01)], False, id="the same, with a duration, a size and flags for each"),
        pytest.param([fragment(1, 5, 9, flags=0x801, with_first_flags=True)], True, id="with flags of the first"),
        pytest.param([fragment(1, 5, 5, flags=0x800, with_first_flags=True)], False, id="the same, with flags of the first"),
        pytest.param([fragment(1, 5, 9, flags=0x201)], False, id="no offsets"),
        pytest.param([fragment(2, 9), fragment(1, 5)], False, id="offsets of different tracks, the other first"),
        pytest.param([fragment(1, 5, 9).replace(u32(2, 0, 7, 5), u32(1, 0, 7, 5))], False, id="more frames than are counted"),
        pytest.param([fragment(1, 5), fragment(1, 9).replace(b"tfhd", b"free")], False, id="a fragment that names no track"),
    ],
)
def test_b_frames_in_fragments(fragments, reorders):
    data = FTYP + moov(MAIN, box(b"mvex", full(b"trex", u32(1)))) + b"".join(fragments)
    film = facts(data)
    assert film.fragmented
    assert film.pictures[0].reorders is reorders
    assert not film.truncated


def test_longer_fields_of_the_newer_headers_are_read():
    """Version 1 of mvhd and tkhd."""
    mvhd = full(b"mvhd", bytes(16), u32(1000), struct.pack(">Q", 90_000), bytes(80), version=1)
    tkhd = full(b"tkhd", bytes(16), u32(7), bytes(68), version=1)
    mdia = box(b"mdia", full(b"hdlr", bytes(4), b"vide"), box(b"minf", box(b"stbl", stsd(picture()))))
    film = facts(FTYP + box(b"moov", mvhd, box(b"trak", tkhd, mdia)) + fragment(7, 5, 9))
    assert film.duration_s == 90
    assert film.pictures[0].reorders


@pytest.mark.parametrize("numbers", [(0, 2500), (1000, 0)])
def test_a_duration_that_is_not_told_is_none(numbers):
    assert facts(FTYP + box(b"moov", full(b"mvhd", u32(0, 0, *numbers))) + MDAT).duration_s is None


def test_a_handler_for_data_is_not_the_tracks():
    """QuickTime writes a second one, in minf."""
    handlers = [full(b"hdlr", bytes(4), b"vide"), full(b"hdlr", bytes(4), b"alis")]
    minf = box(b"minf", handlers[1], box(b"stbl", stsd(picture())))
    film = facts(FTYP + box(b"moov", box(b"trak", box(b"mdia", *handlers, minf))) + MDAT)
    assert [track.handler for track in film.tracks] == ["vide"]


def test_the_order_inside_a_track_does_not_matter():
    mdia = box(b"mdia", box(b"minf", box(b"stbl", stsd(picture(b"hvc1")))), full(b"hdlr", bytes(4), b"vide"))
    assert facts(FTYP + box(b"moov", box(b"trak", mdia)) + MDAT).pictures[0].codecs[0].name == "H.265"


def test_a_box_longer_than_its_parent_ends_with_it():
    """It neither swallows the next track nor hides it."""
    liar = bytearray(MAIN)
    at = liar.find(b"stbl") - 4
    liar[at : at + 4] = u32(10**6)
    film = facts(FTYP + moov(bytes(liar), AAC) + MDAT)
    assert [track.handler for track in film.tracks] == ["vide", "soun"]
    assert film.pictures[0].codecs[0].name == "H.264"


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(box(b"moov", box(b"mvhd")), id="in the index"),
        pytest.param(box(b"moov", box(b"trak", box(b"mdia", box(b"hdlr")))), id="in a track"),
        pytest.param(box(b"moov", u32(1) + b"mvhd"), id="of which the size is missing"),
    ],
)
def test_a_box_without_content_says_nothing(index):
    """Nothing is asked for behind its end."""
    film, asked = drive(walk_film(), reader(FTYP + index + MDAT))
    assert not film.truncated
    assert all(length > 0 for _, length in asked)
    assert film.mime_type is None


# --- bounds -------------------------------------------------------------------------------------------------------


def nested(depth, *kinds):
    kinds = list(itertools.islice(itertools.cycle(kinds), depth))
    return b"".join(u32(8 * (depth - at)) + kind for at, kind in enumerate(kinds))


EMPTY = b"\0\0\0\x08free"


@pytest.mark.parametrize(
    ("data", "complete", "index_read"),
    [
        pytest.param(EMPTY * 10**6, False, True, id="a million empty boxes"),
        pytest.param(FTYP + box(b"moov", EMPTY * 10**6) + MDAT, True, False, id="a million in the index"),
        pytest.param(FTYP + box(b"moov", box(b"trak") * 10**5) + MDAT, True, False, id="many tracks"),
        pytest.param(
            FTYP + box(b"moov", *[box(b"trak", EMPTY * 500)] * 500) + MDAT, False, False, id="many boxes in many tracks"
        ),
        pytest.param(FTYP + box(b"moov", nested(10_000, b"moov")) + MDAT, True, True, id="an index in an index"),
        pytest.param(
            FTYP + nested(10_000, b"moov", b"trak", b"mdia", b"minf", b"stbl") + MDAT, True, True, id="ten thousand deep"
        ),
        pytest.param(FTYP + nested(10_000, b"moof", b"traf") + MDAT, True, True, id="fragments in fragments"),
        pytest.param(mp4(trak(b"vide", stsd(picture() * 1000, count=2**31))), True, True, id="a count of 2 ** 31"),
        pytest.param(mp4(trak(b"vide", stsd(EMPTY * 10**5, count=2**31))), True, True, id="a count of 2 ** 31 empty entries"),
        pytest.param(mp4(trak(b"vide", full(b"ctts", u32(2**31), u32(1, 5) * 10**5))), True, True, id="2 ** 31 offsets"),
        pytest.param(FTYP + moov(MAIN) + fragment(1, *[5] * 10**5), True, True, id="a fragment of many frames"),
        pytest.param(FTYP + moov(MAIN) + box(b"moof", EMPTY * 1000) * 600, False, True, id="many fragments of many boxes"),
        pytest.param(FTYP + moov(MAIN) + u32(1) + b"mdat" + b"\xff" * 8, True, True, id="a size of 2 ** 64 - 1"),
    ],
)
def test_work_is_bounded(data, complete, index_read):
    """Whatever a file claims; and it says so where it gave up."""
    film, asked = drive(walk_film(), reader(data))
    assert len(asked) <= 2 * (MAX_BOXES + MAX_BOXES_OF_LEVEL)
    assert len(film.tracks) <= MAX_BOXES_OF_LEVEL
    assert sum(len(track.codecs) for track in film.tracks) <= 17 * len(film.tracks)
    assert (film.complete, film.index_read) == (complete, index_read)
    film_rules.film_problems(film)


def test_memory_is_bounded():
    """Descriptions are not kept until the end, nor is what passes by."""
    bomb = trak(b"vide", stsd(EMPTY * 8000))
    data = FTYP + box(b"moov", *[bomb] * 500) + MDAT
    tracemalloc.start()
    film = drive(walk_film(), reader(data))[0]
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(film.tracks) == 500
    assert peak_bytes < 8 * 2**20


def test_a_film_of_many_fragments_is_not_held_to_be_cut():
    """It is only not looked at to its end."""
    film = facts(FTYP + moov(MAIN, AAC, box(b"mvex")) + fragment(1, 5) * 400)
    assert not film.complete
    assert film.index_read
    assert not film.truncated
    assert film_rules.film_problems(film) == []


# --- hostile bytes ------------------------------------------------------------------------------------------------

CORPUS = [
    HIGH_B_FRAMES,
    FRAGMENTED_B_FRAMES,
    HIGH_422_10,
    H263_AMR,
    mp4(MAIN, AAC, trak(b"vide", stsd(picture(b"avc1", avcc(244, sps(244, 0, 3, (0, 1), 2, 0)))), ctts((1, 5), (1, 9)))),
    FTYP + long_box(b"moov", AAC + MAIN) + fragment(1, 5, 9, 0) + open_box(b"mdat", bytes(40)),
]


def mutated(rng, corpus):
    """A file that is flipped, cut or spliced."""
    data = bytearray(rng.choice(corpus))
    way = rng.randrange(4)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 1:
        other = rng.choice(corpus)
        return bytes(data[: rng.randrange(len(data))]) + other[rng.randrange(len(other)) :]
    marks = [at for mark in (b"moov", b"trak", b"stsd", b"esds", b"avcC", b"moof") if (at := data.find(mark)) >= 4]
    near = rng.choice(marks) - 4 if marks and way == 2 else 0
    for _ in range(rng.choice((1, 3, 20))):
        at = near + rng.randrange(min(80, len(data) - near)) if way == 2 else rng.randrange(len(data))
        data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(data)


def fed(walk, data, rng):
    passing = Passing(walk)
    while data:
        size = rng.choice((1, 7, 100, 1000, 10**6))
        passing.feed(data[:size])
        data = data[size:]
    return passing.end()


def test_hostile_bytes_never_raise_and_blocks_make_no_difference():
    rng = random.Random(7)
    seen = set()
    for _ in range(3000):
        data = mutated(rng, CORPUS)
        film = fed(walk_film(), data, rng)
        assert film == fed(walk_film(), data, rng) == drive(walk_film(), reader(data))[0]
        for kind in (None, "document"):
            seen |= {problem.code for problem in film_rules.film_problems(film, kind)}
    assert len(seen) > 6  # the mutations reach into the rules


def test_other_files_have_no_tracks():
    assert facts(b"") == Film(complete=True)
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"ab", bytes(64), b"\xff" * 100):
        assert facts(data).tracks == ()
        assert facts(data).truncated
