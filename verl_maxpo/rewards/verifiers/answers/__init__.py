"""Answers as people and models write them; importing this package needs no math-verify.

:mod:`.reading` makes an :class:`Answer` of a text, :mod:`.voting` one text of equal answers, :mod:`.comparing` decides
whether two are the same; :mod:`.parsing` is math-verify behind its guard, :mod:`.costs`.
"""

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind
from verl_maxpo.rewards.verifiers.answers.reading import read
from verl_maxpo.rewards.verifiers.answers.voting import canonical, canonical_answer

__all__ = ["Answer", "Kind", "canonical", "canonical_answer", "read"]
