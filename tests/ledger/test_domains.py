"""Random host names."""

from __future__ import annotations

import re
from collections import Counter

from ledger import values
from ledger.domains import mint_domain

MANY = [mint_domain("satusky.com") for _ in range(4000)]
TAILS = [re.fullmatch(r"[a-z]+-([0-9a-z]{7})\.satusky\.com", domain) for domain in MANY]


def test_a_name_is_letters_a_dash_seven_of_base_36_and_the_suffix() -> None:
    assert all(TAILS)


def test_the_suffix_is_taken_as_it_is() -> None:
    assert mint_domain("apps.example.org").endswith(".apps.example.org")


def test_every_name_is_one_that_a_route_takes() -> None:
    assert all(values.domain(domain) == domain for domain in MANY)
    longest = values.domain_suffix(".".join(["x" * 62] * 3))
    assert values.domain(mint_domain(longest))


def test_names_do_not_repeat() -> None:
    assert len(set(MANY)) == len(MANY)


def test_every_sign_is_about_as_likely_in_every_place() -> None:
    for place in range(7):
        counts = Counter(found[1][place] for found in TAILS if found)
        assert len(counts) == 36
        # 111 are expected of each; 6 standard deviations are 62.
        assert all(45 < count < 180 for count in counts.values())


def test_words_are_many_and_about_as_likely() -> None:
    words = Counter(domain.partition("-")[0] for domain in MANY)
    assert len(words) > 3000
    assert max(words.values()) < 12
