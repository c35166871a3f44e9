"""From the facts of a video or sound file to its problems. Pure.

The rules are those of Meta's page on video messages (https://developers.facebook.com/documentation/business-messaging/whatsapp,
"Video messages") and of 360dialog's (https://docs.360dialog.com/docs/messaging/message-types/video), in the same words: only
H.264 and AAC, a single audio stream or none; for Android the Main profile without B-frames, or Baseline, and moov before mdat. Of
sound Meta says: "audio/ogg: OPUS codecs only", and that a voice message is mono.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.media.descriptions import ENCRYPTED
from airflow_provider_360dialog.media.problems import error, warning

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.descriptions import Codec
    from airflow_provider_360dialog.media.films import Film, Track
    from airflow_provider_360dialog.media.voices import Voice
    from airflow_provider_360dialog.ports import Problem

VIDEO_CODEC: Final = "H.264"
AUDIO_CODEC: Final = "AAC"

_PROFILES = {
    66: "Baseline",
    77: "Main",
    88: "Extended",
    100: "High",
    110: "High 10",
    122: "High 4:2:2",
    244: "High 4:4:4 Predictive",
    44: "CAVLC 4:4:4 Intra",
}
_FOR_ALL_PHONES = frozenset({66, 77})
_MORE_COLOUR = frozenset({"4:2:2", "4:4:4"})  # grey (4:0:0) is part of the High profile
_NOT_420_8_BIT = frozenset({110, 122, 244, 44})  # they allow more; a phone that refuses the profile does not look further

_GET_IT_WHOLE = "Get the whole file: an export, a copy or a download broke off."
_NO_PROTECTION = "Get it without copy protection."


def film_problems(film: Film, kind: str | None = None) -> list[Problem]:
    """Judge an mp4, m4a or 3gp file.

    Args:
        film: its facts.
        kind: of message that it is meant for; None takes that of its type. As a document it may hold what it wants, so that
            only a missing end is a problem, and a warning.

    Returns:
        Every problem. A remedy is a command that mends all of them at once, where one can.
    """
    is_audio = film.mime_type in {"audio/mp4", "audio/3gpp"} or (not film.pictures and _is_audio_brand(film))
    cut = _truncated(film, is_audio=is_audio)
    if kind == "document":
        return [replace(problem, severity="warning") for problem in cut]
    if not film.index_read:
        message = "The index of the file has so many parts that its tracks were not all looked at."
        cut.append(error("video_no_track", message, "Export the video again."))
    if is_audio:
        return [*cut, *_sound_codecs(film), *_m4a_streams(film)]
    if not film.pictures and not film.sounds:
        return cut or [error("video_no_track", "The file holds neither a picture nor a sound.", "Export the video again.")]
    return [*cut, *_picture_codecs(film), *_sound_codecs(film), *_streams(film), *_for_phones(film)]


def voice_problems(voice: Voice, kind: str | None = None) -> list[Problem]:
    """Judge an Ogg, AAC, AMR or MP3 file. Every finding is a warning; as a document only a missing end is one."""
    found = []
    if voice.truncated:
        message = "The end of the sound is missing: its last part is longer than the file."
        found.append(replace(error("audio_truncated", message, _GET_IT_WHOLE), severity="warning"))
    if kind == "document":
        return found
    if voice.channels is not None and voice.channels > 1:
        message = f"The sound has {voice.channels} channels; a voice message has to be mono."
        remedy = "If it is a voice message: ffmpeg -i in.ogg -map 0:a:0 -ac 1 -c:a libopus -b:a 32k out.ogg"
        found.append(warning("voice_stereo", message, remedy))
    if voice.streams > 1:
        found.append(_audio_streams(voice.streams, "ffmpeg -i in.ogg -map 0:a:0 -ac 1 -c:a libopus -b:a 32k out.ogg"))
    return found


# --- the questions ------------------------------------------------------------------------------------------------


def _truncated(film: Film, *, is_audio: bool) -> list[Problem]:
    if not film.truncated:
        return []
    if not film.has_index:
        what = "it has no index (moov), which comes last in many files"
    elif film.cut:
        what = "a part of it is longer than the file"
    else:
        what = "it has an index and nothing behind it (no mdat)"
    message = f"The end of the file is missing: {what}."
    return [
        error("audio_truncated", message, _GET_IT_WHOLE) if is_audio else error("video_truncated", message, _GET_IT_WHOLE),
    ]


def _picture_codecs(film: Film) -> list[Problem]:
    named = _others(film.pictures, VIDEO_CODEC)
    if named:
        message = f"The video is coded as {named}; WhatsApp takes {VIDEO_CODEC} only."
        return [error("video_codec_not_accepted", message, _remedy(film))]
    odd = [codec for codec in _codecs(film.pictures) if not _is_420_8_bit(codec)]
    if odd:
        message = f"The video is stored as {_described(odd[0])}; phones play 8 bits in 4:2:0 only."
        return [error("video_not_420_8_bit", message, _remedy(film))]
    return []


def _sound_codecs(film: Film) -> list[Problem]:
    named = _others(film.sounds, AUDIO_CODEC)
    if not named:
        return []
    message = f"The sound is coded as {named}; in this container WhatsApp takes {AUDIO_CODEC} only."
    return [error("audio_codec_not_accepted", message, _remedy(film))]


def _streams(film: Film) -> list[Problem]:
    found = []
    if len(film.sounds) > 1:
        message = f"The video has {len(film.sounds)} audio streams; WhatsApp takes one or none."
        found.append(error("video_several_audio_streams", message, _remedy(film)))
    if len(film.pictures) > 1:
        # A warning: no document forbids it, and cameras add a preview as a second one.
        message = f"The file has {len(film.pictures)} video streams; phones show one, and which one is not said."
        found.append(warning("video_several_video_streams", message, _remedy(film)))
    if not film.pictures:
        found.append(error("video_no_track", "The file holds no picture.", "Export the video again."))
    return found


def _m4a_streams(film: Film) -> list[Problem]:
    return [_audio_streams(len(film.sounds), _remedy(film))] if len(film.sounds) > 1 else []


def _for_phones(film: Film) -> list[Problem]:
    found = []
    if film.has_index and film.has_media and not film.index_first:
        message = "The index (moov) stands behind the media (mdat); some Android phones do not play that."
        found.append(warning("video_moov_last", message, _remedy(film)))
    if _others(film.pictures, VIDEO_CODEC):
        return found
    if any(track.reorders for track in film.pictures):
        message = "The video has B-frames; together with the High profile some Android phones do not play that."
        found.append(warning("video_b_frames", message, _remedy(film)))
    high = [codec for codec in _codecs(film.pictures) if _is_420_8_bit(codec) and not _is_for_all_phones(codec)]
    if high:
        name = _PROFILES.get(high[0].profile or 0, f"number {high[0].profile}")
        message = f"The video has the H.264 profile {name}; some Android phones play Baseline and Main only."
        found.append(warning("video_high_profile", message, _remedy(film)))
    return found


# --- facts in other words -----------------------------------------------------------------------------------------


def _is_audio_brand(film: Film) -> bool:
    return film.brands[:1] in {("M4A ",), ("M4B ",), ("M4P ",)}


def _codecs(tracks: tuple[Track, ...]) -> list[Codec]:
    return [codec for track in tracks for codec in track.codecs]


def _others(tracks: tuple[Track, ...], accepted: str) -> str:
    """The codecs that are not the accepted one, in words; empty where there is none."""
    return " and ".join(dict.fromkeys(codec.name for codec in _codecs(tracks) if codec.name != accepted))


def _is_420_8_bit(codec: Codec) -> bool:
    return codec.profile not in _NOT_420_8_BIT and codec.sampling not in _MORE_COLOUR and codec.bits in {None, 8}


def _is_for_all_phones(codec: Codec) -> bool:
    return codec.profile is None or codec.profile in _FOR_ALL_PHONES


def _described(codec: Codec) -> str:
    name = _PROFILES.get(codec.profile or 0, f"H.264 profile {codec.profile}")
    return f"{name} ({codec.bits} bits, {codec.sampling})" if codec.bits and codec.sampling else name


# --- remedies -----------------------------------------------------------------------------------------------------


def _audio_streams(count: int, remedy: str) -> Problem:
    message = f"The file has {count} audio streams; phones play one, and which one is not said."
    return warning("audio_several_streams", message, remedy)


def _remedy(film: Film) -> str:
    """The command that mends everything, and copies what is good already."""
    if any(codec.name == ENCRYPTED for codec in _codecs(film.tracks)):
        return _NO_PROTECTION
    sound = f"-c:a {'aac' if _others(film.sounds, AUDIO_CODEC) else 'copy'}"
    if not film.pictures:
        return f"ffmpeg -i in.m4a -map 0:a:0 {sound} -movflags +faststart out.m4a"
    parts = ["ffmpeg -i in.mp4 -map 0:v:0", *(["-map 0:a:0"] if film.sounds else []), _picture_arguments(film.pictures)]
    return " ".join([*parts, *([sound] if film.sounds else []), "-movflags +faststart out.mp4"])


def _picture_arguments(pictures: tuple[Track, ...]) -> str:
    codecs = _codecs(pictures)
    good = all(codec.name == VIDEO_CODEC and _is_420_8_bit(codec) and _is_for_all_phones(codec) for codec in codecs)
    if good and not any(track.reorders for track in pictures):
        return "-c:v copy"
    odd = any(codec.width % 2 or codec.height % 2 for codec in codecs)
    even = '-vf "crop=trunc(iw/2)*2:trunc(ih/2)*2" ' if odd else ""  # 4:2:0 has no odd width or height
    return f"{even}-c:v libx264 -profile:v main -bf 0 -pix_fmt yuv420p"
