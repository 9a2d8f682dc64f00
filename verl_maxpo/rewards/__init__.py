"""Rewards from verifiers that cannot hang, execute what a response says, or silently score zero.

- :mod:`.result`: what a verifier is and what it returns; :mod:`.verifiers` has those of this package,
- :mod:`.registry`: verifiers by name, :mod:`.routing`: which verifier a data source gets,
- :mod:`.config` and :mod:`.scoring`: the options, and what becomes of a response with them,
- :mod:`.check`: a data set's rewards, tried on right and wrong responses; :mod:`.report`: what that found,
- :mod:`.isolation`: the child processes in which verifiers run,
- :mod:`.adapters`: how verl reaches all this: its reward loop, ``custom_reward_function``, the
  service that runs programs, the check before training.
"""

from verl_maxpo.rewards.result import Status, Verifier, VerifierResult

__all__ = ["Status", "Verifier", "VerifierResult"]
