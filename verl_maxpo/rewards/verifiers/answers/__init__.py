r"""Answers as people and models write them.

- :mod:`.notation`: one notation, :mod:`.numerals`: exact numbers, :mod:`.units`: units and currencies,
- :mod:`.reading`: from a text to an :class:`Answer` with its kind and value, :mod:`.voting`: one text for the same,
- :mod:`.comparing`: whether two answers are the same; :mod:`.parsing` is math-verify behind its guard, :mod:`.costs`.

Importing this package needs no math-verify.
"""

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind
from verl_maxpo.rewards.verifiers.answers.reading import read
from verl_maxpo.rewards.verifiers.answers.voting import canonical, canonical_answer

__all__ = ["Answer", "Kind", "canonical", "canonical_answer", "read"]
