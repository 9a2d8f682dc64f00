"""How verl reaches the verifiers: its reward loop, ``custom_reward_function``, Sandbox Fusion, start-up."""

#: ``reward.reward_manager.name``.
MANAGER_NAME = "verifier"
