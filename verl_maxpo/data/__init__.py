"""Data sets as verl reads them.

``verl-maxpo prepare`` writes one folder for each. Several evaluation sets go side by side as folders:
``data.val_files=[data/aime24/test.parquet,data/math500/test.parquet]``. Their files have
the same :data:`~verl_maxpo.data.rows.SCHEMA`, so that verl can concatenate them.

- :mod:`.sources`: the data sets of the Hugging Face hub, their columns, answers and what their prompts end in,
- :mod:`.tasks`: the generated ones of reasoning-gym,
- :mod:`.reading`: rows from the hub or from files,
- :mod:`.rows`: verl's schema, :mod:`.normalise`: when two problems are the same,
- :mod:`.prepare`: from rows to the folder, duplicates and test problems left out of the training set.
"""
