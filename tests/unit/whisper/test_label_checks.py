"""Bad labels are noticed without a reference, good ones of any script are not."""

from __future__ import annotations

import zlib

import pytest

from espnet_kd.whisper.hypothesis import Hypothesis
from espnet_kd.whisper.label_checks import (
    LoopLimits,
    compression_ratio,
    label_flags,
    most_repeats,
    timestamps_fit,
)
from espnet_kd.whisper.specials import SpecialIds

SPECIALS = SpecialIds(
    start=1001, end=1000, transcribe=1003, translate=1004, startofprev=1005, nospeech=1006,
    notimestamps=1007, timestamp_begin=1008, languages={"en": 1002}, is_multilingual=True,
)  # fmt: skip
ENGLISH = (
    "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow. The "
    "rainbow is a division of white light into many beautiful colours."
)
HINDI = (
    "जब सूरज की रोशनी हवा में बारिश की बूंदों पर पड़ती है तो वे प्रिज्म का काम करती हैं और इंद्रधनुष बनता है। "
    "इंद्रधनुष सफेद रोशनी का कई सुंदर रंगों में बंटना है और लोग उसे देखकर खुश होते हैं।"
)
ARABIC = (
    "عندما يسقط ضوء الشمس على قطرات المطر في الهواء فإنها تعمل مثل المنشور وتشكل قوس قزح، "
    "وهو انقسام الضوء الأبيض إلى ألوان جميلة كثيرة يراها الناس في السماء."
)


def test_latin_text_has_the_usual_ratio():
    raw = ENGLISH.encode()
    assert compression_ratio(ENGLISH) == pytest.approx(len(raw) / len(zlib.compress(raw)), rel=0.1)


@pytest.mark.parametrize("text", [ENGLISH, HINDI, ARABIC], ids=["english", "hindi", "arabic"])
def test_speech_of_any_script_is_no_loop(text):
    assert compression_ratio(text) < 2.0
    assert compression_ratio(" ".join([text[:40]] * 8)) > 2.4


def test_no_text_has_no_ratio():
    assert compression_ratio("") == 0.0


@pytest.mark.parametrize(
    ("tokens", "repeats"),
    [
        ([], 0),
        ([5], 1),
        ([5, 6, 7], 1),
        ([5, 5, 5], 3),
        ([1, 5, 6, 5, 6, 5, 6, 2], 3),
        ([5, 6, 5, 6, 5], 2),
        ([5, 5, 6, 6], 2),
    ],
)
def test_repeats_are_counted(tokens, repeats):
    assert most_repeats(tokens) == repeats


def hypothesis(*tokens: int, finished: bool = True) -> Hypothesis:
    return Hypothesis((1001, 1002, 1003), tokens, finished)


def flags(text: str, *tokens: int, finished: bool = True, duration: float = 2.0) -> list[str]:
    found = hypothesis(*tokens, finished=finished)
    return label_flags(found, text, duration, SPECIALS, LoopLimits())


def test_good_labels_have_no_flag():
    assert flags("go left", 5, 6) == []
    assert flags("go left", 1008, 5, 6, 1108) == []


def test_every_defect_has_its_flag():
    assert flags("go", 5, finished=False) == ["truncated"]
    assert flags("") == ["empty"]
    assert flags("", 1008, 1058) == ["empty"]
    assert flags("go go go", *[5] * 9) == ["repeated"]
    assert flags("the end of it all " * 12, 5, 6) == ["repeated"]
    assert flags("go left", 1050, 5, 1010, 6, 1010) == ["timestamps"]
    assert flags("go left", 1008, 5, 1008 + 151) == ["timestamps"]


def test_times_may_lie_a_little_behind_the_end():
    stamped = [1008, 5, 1058, 1058, 6, 1108]  # 0, 1, 1 and 2 s
    assert timestamps_fit(stamped, 2.0, SPECIALS)
    assert timestamps_fit(stamped, 1.1, SPECIALS)
    assert not timestamps_fit(stamped, 0.9, SPECIALS)
    assert timestamps_fit([5, 6], 0.0, SPECIALS)


def test_limits_are_checked():
    assert LoopLimits().validate() == []
    problems = LoopLimits(compression_ratio_threshold=0.0, max_repeats=0).validate()
    assert [problem.split()[0] for problem in problems] == [
        "compression_ratio_threshold",
        "max_repeats",
    ]
