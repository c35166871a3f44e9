"""From the facts of videos and sounds to problems."""

import shlex

import pytest

from airflow_provider_360dialog.media.descriptions import ENCRYPTED, UNREADABLE, Codec
from airflow_provider_360dialog.media.film_rules import film_problems, voice_problems
from airflow_provider_360dialog.media.films import Film, Track
from airflow_provider_360dialog.media.voices import Voice

E, W = "error", "warning"


def h264(profile=77, sampling="4:2:0", bits=8, width=640, height=360):
    return Codec("H.264", profile, sampling, bits, width, height)


def video(*codecs, reorders=False):
    return Track("vide", codecs or (h264(),), reorders)


def audio(name="AAC"):
    return Track("soun", (Codec(name, channels=2),))


def film(*tracks, brand="isom", **facts):
    return Film((brand,), tracks, **{"has_index": True, "index_first": True, "has_media": True, **facts})


def m4a(*tracks, **facts):
    return film(*tracks, brand="M4A ", **facts)


def found(problems):
    return [(problem.code, problem.severity) for problem in problems]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(film(video(), audio()), [], id="H.264 Main and AAC are good"),
        pytest.param(film(video()), [], id="no sound is good"),
        pytest.param(film(video(h264(66)), audio()), [], id="Baseline is good"),
        pytest.param(film(video(h264(None, "", None))), [], id="a profile that is not told is not held against it"),
        pytest.param(film(video(), audio(), Track("sbtl"), Track("tmcd")), [], id="subtitles and time codes are no streams"),
        pytest.param(film(video(), audio(), fragmented=True), [], id="fragments are good"),
        pytest.param(film(video(), audio(), brand="3gp4"), [], id="3gp with H.264 and AAC is good"),
        pytest.param(film(video(Codec("H.265"))), [("video_codec_not_accepted", E)], id="H.265"),
        pytest.param(film(video(h264(), Codec("AV1"))), [("video_codec_not_accepted", E)], id="a second description counts"),
        pytest.param(film(video(), video(Codec("Motion JPEG"))), [("video_codec_not_accepted", E), ("video_several_video_streams", W)],
                     id="a second stream counts"),
        pytest.param(film(video(Codec(UNREADABLE))), [("video_codec_not_accepted", E)], id="a codec that cannot be read"),
        pytest.param(film(video(Codec(ENCRYPTED))), [("video_codec_not_accepted", E)], id="an encrypted video"),
        pytest.param(film(video(Codec("H.265"), reorders=True)), [("video_codec_not_accepted", E)],
                     id="B-frames of another codec are not worth a word"),
        pytest.param(film(video(), audio("MP3")), [("audio_codec_not_accepted", E)], id="MP3 in a video"),
        pytest.param(film(video(), audio("AMR"), brand="3gp4"), [("audio_codec_not_accepted", E)], id="AMR in 3gp"),
        pytest.param(film(video(Codec("H.263")), audio("AMR"), brand="3gp4"),
                     [("video_codec_not_accepted", E), ("audio_codec_not_accepted", E)], id="both are told at once"),
        pytest.param(film(video(), audio(), audio()), [("video_several_audio_streams", E)], id="two audio streams"),
        pytest.param(film(video(), audio(), audio("AC-3")), [("audio_codec_not_accepted", E), ("video_several_audio_streams", E)],
                     id="two audio streams of two codecs"),
        pytest.param(film(video(), video(), audio()), [("video_several_video_streams", W)], id="two video streams"),
        pytest.param(film(video(), index_first=False), [("video_moov_last", W)], id="the index last"),
        pytest.param(film(video(reorders=True)), [("video_b_frames", W)], id="B-frames"),
        pytest.param(film(video(), Track("soun", (Codec("AAC"),), reorders=True)), [], id="sound has no B-frames"),
        pytest.param(film(video(h264(100))), [("video_high_profile", W)], id="High"),
        pytest.param(film(video(h264(100, "4:0:0"))), [("video_high_profile", W)], id="High in grey"),
        pytest.param(film(video(h264(88))), [("video_high_profile", W)], id="Extended"),
        pytest.param(film(video(h264(100), reorders=True), index_first=False),
                     [("video_moov_last", W), ("video_b_frames", W), ("video_high_profile", W)], id="all that phones dislike"),
        pytest.param(film(video(h264(110, "4:2:0", 10))), [("video_not_420_8_bit", E)], id="High 10"),
        pytest.param(film(video(h264(110, "", None))), [("video_not_420_8_bit", E)], id="High 10 by its profile alone"),
        pytest.param(film(video(h264(122, "", None))), [("video_not_420_8_bit", E)], id="High 4:2:2 by its profile alone"),
        pytest.param(film(video(h264(244, "", None))), [("video_not_420_8_bit", E)], id="High 4:4:4 by its profile alone"),
        pytest.param(film(video(h264(100, "4:2:2"))), [("video_not_420_8_bit", E)], id="4:2:2 under another profile"),
        pytest.param(film(video(h264(100, "4:4:4"))), [("video_not_420_8_bit", E)], id="4:4:4 under another profile"),
        pytest.param(film(video(h264(100, bits=10))), [("video_not_420_8_bit", E)], id="10 bits under another profile"),
        pytest.param(film(video(), cut=True), [("video_truncated", E)], id="cut"),
        pytest.param(film(video(Codec("H.265")), cut=True), [("video_truncated", E), ("video_codec_not_accepted", E)],
                     id="cut, and the codec is known all the same"),
        pytest.param(film(has_index=False), [("video_truncated", E)], id="no index"),
        pytest.param(film(video(), has_media=False), [("video_truncated", E)], id="no media"),
        pytest.param(film(video(), has_media=False, index_first=False), [("video_truncated", E)], id="no media to stand before"),
        pytest.param(film(), [("video_no_track", E)], id="no track"),
        pytest.param(film(Track("text")), [("video_no_track", E)], id="neither a picture nor a sound"),
        pytest.param(film(has_index=False, has_media=False, complete=False), [("video_no_track", E)], id="no index as far as was read"),
        pytest.param(film(video(Codec("VP9")), brand="M4A "), [("video_codec_not_accepted", E)], id="a picture under a sound's brand"),
        pytest.param(film(video(), index_read=False), [("video_no_track", E)], id="an index that was not read to its end"),
        pytest.param(m4a(audio(), index_read=False), [("video_no_track", E)], id="the same, in a sound file"),
        pytest.param(film(video(), complete=False), [], id="not read to its end is no problem of the file"),
        pytest.param(m4a(audio()), [], id="m4a"),
        pytest.param(film(audio()), [], id="sound alone under a video's brand"),
        pytest.param(m4a(audio(), index_first=False), [], id="sound may have its index last"),
        pytest.param(m4a(audio("ALAC")), [("audio_codec_not_accepted", E)], id="ALAC in m4a"),
        pytest.param(m4a(audio(ENCRYPTED)), [("audio_codec_not_accepted", E)], id="encrypted m4a"),
        pytest.param(m4a(audio(), audio()), [("audio_several_streams", W)], id="two streams in m4a"),
        pytest.param(m4a(audio(), cut=True), [("audio_truncated", E)], id="cut m4a"),
        pytest.param(m4a(has_index=False), [("audio_truncated", E)], id="m4a without an index"),
        pytest.param(film(audio(), brand="3gp4"), [], id="3gp with sound alone is the business of its type"),
    ],
)  # fmt: skip
def test_film(facts, expected):
    assert found(film_problems(facts)) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(film(video(Codec("H.265"), reorders=True), audio("MP3"), audio(), index_first=False), [], id="a video"),
        pytest.param(m4a(audio("ALAC"), audio()), [], id="a sound"),
        pytest.param(film(), [], id="no track"),
        pytest.param(film(video(), cut=True), [("video_truncated", W)], id="a cut video"),
        pytest.param(m4a(audio(), cut=True), [("audio_truncated", W)], id="a cut sound"),
    ],
)
def test_a_document_may_hold_what_it_wants(facts, expected):
    """Only a missing end is warned of: nobody plays it in the chat."""
    assert found(film_problems(facts, kind="document")) == expected


@pytest.mark.parametrize("kind", ["video", "audio", None])
def test_no_other_kind_changes_the_verdict(kind):
    assert found(film_problems(film(video(Codec("VP9"))), kind)) == [("video_codec_not_accepted", E)]


@pytest.mark.parametrize(
    ("voice", "kind", "expected"),
    [
        pytest.param(Voice("audio/ogg", channels=1), None, [], id="mono is good"),
        pytest.param(Voice("audio/mpeg"), None, [], id="other formats are not asked for their channels"),
        pytest.param(Voice("audio/ogg", channels=2), None, [("voice_stereo", W)], id="stereo"),
        pytest.param(Voice("audio/ogg", channels=2), "document", [], id="stereo in a document is nobody's business"),
        pytest.param(Voice("audio/ogg", channels=1, streams=2), None, [("audio_several_streams", W)], id="two streams"),
        pytest.param(Voice("audio/ogg", channels=1, streams=2), "document", [], id="two streams in a document"),
        pytest.param(Voice("audio/ogg", channels=2, truncated=True), None, [("audio_truncated", W), ("voice_stereo", W)],
                     id="both at once"),
        pytest.param(Voice("audio/amr", truncated=True), "document", [("audio_truncated", W)], id="a cut document"),
    ],
)  # fmt: skip
def test_voice(voice, kind, expected):
    assert found(voice_problems(voice, kind)) == expected


# --- what is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        pytest.param(film(video(Codec("H.265"))), "coded as H.265;", id="the codec"),
        pytest.param(
            film(video(Codec("H.265")), video(Codec("H.265")), video(Codec("VP9"))), "coded as H.265 and VP9;", id="each once"
        ),
        pytest.param(film(video(Codec(ENCRYPTED))), "coded as an encrypted codec;", id="encryption"),
        pytest.param(film(video(Codec(UNREADABLE))), "coded as no codec that can be read;", id="nothing to read"),
        pytest.param(film(video(), audio("Opus")), "coded as Opus;", id="the codec of the sound"),
        pytest.param(film(video(), audio(), audio(), audio()), "has 3 audio streams", id="the number of audio streams"),
        pytest.param(film(video(), video()), "has 2 video streams", id="the number of video streams"),
        pytest.param(film(video(h264(110, "4:2:0", 10))), "High 10 (10 bits, 4:2:0)", id="depth and sampling"),
        pytest.param(film(video(h264(244, "", None))), "stored as High 4:4:4 Predictive;", id="the profile alone"),
        pytest.param(film(video(h264(100))), "profile High;", id="the profile"),
        pytest.param(film(video(h264(118))), "profile number 118;", id="a profile without a name"),
        pytest.param(film(has_index=False), "no index (moov)", id="the index is missing"),
        pytest.param(film(video(), has_media=False), "nothing behind it (no mdat)", id="the media is missing"),
        pytest.param(film(video(), cut=True), "longer than the file", id="a part is missing"),
    ],
)
def test_a_message_names_what_was_found(facts, words):
    assert words in film_problems(facts)[0].message


COPY = "ffmpeg -i in.mp4 -map 0:v:0 -map 0:a:0 -c:v copy -c:a copy -movflags +faststart out.mp4"
ENCODE = "-c:v libx264 -profile:v main -bf 0 -pix_fmt yuv420p"


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        pytest.param(film(video(), audio(), index_first=False), COPY, id="the order alone: nothing is coded anew"),
        pytest.param(film(video(), audio(), audio()), COPY, id="too many streams: the first is kept"),
        pytest.param(film(video(), audio("MP3")), COPY.replace("-c:a copy", "-c:a aac"), id="the sound alone"),
        pytest.param(film(video(Codec("VP9")), audio()), COPY.replace("-c:v copy", ENCODE), id="the picture alone"),
        pytest.param(film(video(h264(100)), audio()), COPY.replace("-c:v copy", ENCODE), id="the profile"),
        pytest.param(film(video(h264(77, bits=10)), audio()), COPY.replace("-c:v copy", ENCODE), id="the depth"),
        pytest.param(film(video(reorders=True), audio()), COPY.replace("-c:v copy", ENCODE), id="B-frames"),
        pytest.param(
            film(video(Codec("VP9")), audio("Opus"), audio(), index_first=False),
            COPY.replace("-c:v copy", ENCODE).replace("-c:a copy", "-c:a aac"),
            id="everything at once",
        ),
        pytest.param(
            film(video(Codec("VP9"))),
            f"ffmpeg -i in.mp4 -map 0:v:0 {ENCODE} -movflags +faststart out.mp4",
            id="without sound",
        ),
        pytest.param(
            film(video(Codec("VP9", width=63, height=48))),
            f'ffmpeg -i in.mp4 -map 0:v:0 -vf "crop=trunc(iw/2)*2:trunc(ih/2)*2" {ENCODE} -movflags +faststart out.mp4',
            id="an odd width, which 4:2:0 does not have",
        ),
        pytest.param(
            film(video(Codec("VP9", width=64, height=47))),
            f'ffmpeg -i in.mp4 -map 0:v:0 -vf "crop=trunc(iw/2)*2:trunc(ih/2)*2" {ENCODE} -movflags +faststart out.mp4',
            id="an odd height",
        ),
        pytest.param(
            m4a(audio("ALAC")), "ffmpeg -i in.m4a -map 0:a:0 -c:a aac -movflags +faststart out.m4a", id="the sound of m4a"
        ),
        pytest.param(
            m4a(audio(), audio()), "ffmpeg -i in.m4a -map 0:a:0 -c:a copy -movflags +faststart out.m4a", id="streams of m4a"
        ),
    ],
)
def test_one_command_mends_everything(facts, command):
    """So nobody has to run one after the other. Each was run with ffmpeg 9.0.2 and judged again when it was written."""
    problems = film_problems(facts)
    assert problems
    assert {problem.remedy for problem in problems} == {command}
    assert shlex.split(command)[0] == "ffmpeg"


@pytest.mark.parametrize(
    "facts", [film(video(Codec(ENCRYPTED)), audio()), film(video(), audio(ENCRYPTED)), m4a(audio(ENCRYPTED))]
)
def test_no_command_mends_an_encrypted_file(facts):
    assert [problem.remedy for problem in film_problems(facts)] == ["Get it without copy protection."]


def test_no_command_mends_a_missing_end():
    problems = [*film_problems(film(video(), cut=True)), *voice_problems(Voice(truncated=True))]
    assert len(problems) == 2
    assert not any("ffmpeg" in problem.remedy for problem in problems)


def test_stereo_is_counted_and_mixed_down():
    (problem,) = voice_problems(Voice("audio/ogg", channels=6))
    assert "has 6 channels" in problem.message
    assert "ffmpeg -i in.ogg -map 0:a:0 -ac 1 -c:a libopus -b:a 32k out.ogg" in problem.remedy
