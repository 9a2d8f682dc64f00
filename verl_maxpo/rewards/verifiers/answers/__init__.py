"""Answers as people and models write them; importing this package needs no math-verify.

:mod:`.reading` turns a text into an :class:`Answer`, :mod:`.comparing` decides whether two are the same, and
:mod:`.voting` gives equal answers one text. :mod:`.parsing` is math-verify, guarded by :mod:`.costs`.
"""

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind
from verl_maxpo.rewards.verifiers.answers.reading import read
from verl_maxpo.rewards.verifiers.answers.voting import canonical, canonical_answer

__all__ = ["Answer", "Kind", "canonical", "canonical_answer", "read"]
