"""Random host names: an adjective, an animal, a dash and seven of [a-z0-9]; never derived from the app's name."""

from __future__ import annotations

import secrets
import string

_ADJECTIVES = (
    "able agile amber ample azure bold brave breezy bright brisk calm candid cheery chilly clever cosmic cozy crisp "
    "curious dapper daring deft dreamy eager early earnest easy elegant excited fancy fast fearless fluffy fond frank "
    "fresh friendly gentle giddy glad golden grand happy hardy hasty honest humble icy jolly jovial keen kind late lively "
    "loyal lucid lucky mellow merry mighty misty modest neat nimble noble patient plucky polite proud quick quiet rapid "
    "ready rosy shiny silent sleepy smart snappy snowy solid sparkly spry steady stellar sturdy sunny swift tidy tranquil "
    "upbeat vivid warm wise witty young zesty"
).split()
_ANIMALS = (
    "alpaca ant badger bat bear beaver bee bison bobcat camel cat cheetah cobra condor cougar coyote crab crane cricket "
    "crow deer dingo dolphin dove duck eagle eel elk falcon ferret finch fox frog gazelle gecko gibbon giraffe goat goose "
    "gull hare hawk hedgehog heron hippo horse hyena ibex ibis iguana impala jackal jaguar kiwi koala lark lemur leopard "
    "lion lizard llama lobster lynx magpie marmot marten mole moose moth mouse newt ocelot octopus okapi orca osprey otter "
    "owl ox panda panther parrot pelican penguin pigeon pony puffin puma quail rabbit raccoon raven robin salmon seal "
    "shark sheep shrew skunk sloth snail spider squid stork swan tapir tiger toad trout turkey turtle viper walrus weasel "
    "whale wolf wombat yak zebra"
).split()
_BASE36 = string.digits + string.ascii_lowercase


def mint_domain(suffix: str) -> str:
    """A new random host name under the suffix, e.g. ``excitedowl-twzwpdg.satusky.com``; about 50 random bits."""
    tail = "".join(secrets.choice(_BASE36) for _ in range(7))
    return f"{secrets.choice(_ADJECTIVES)}{secrets.choice(_ANIMALS)}-{tail}.{suffix}"
