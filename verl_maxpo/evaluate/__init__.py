"""Evaluation from verl's dumps: unbiased pass@k and max@k with intervals, and which k a run should train with.

    verl-maxpo evaluate RUN [RUN ...] [--k 1 2 4 8] [--out DIR]
    verl-maxpo choose-k DUMP [DUMP ...] [--k 1 2 4 8] [--n 8 16]

===============  ======================================================================================
``dumps``        reading: a run is a folder of JSON lines
``names``        runs' names, and the labels that their seeds share
``settings``     what a run was trained with
``remarks``      what the dumps lack, or have twice
``estimates``    the statistics, of single prompts and of means over prompts
``comparison``   evaluates runs beside each other
``results``      what comes of it: estimates, averages over seeds, paired differences, what was left out
``tables``       the same as tables, for the terminal, Markdown and HTML
``plots``        the same as a picture, in ``styles``
``problems``     what became of each problem, with its samples
``figures``      the HTML report's figures, which Plotly draws
``summary``      what was compared and what came out, in two lines
``report``       writes all of it into files; ``report.html.j2`` and ``report.js`` are the page
``choose_k``     what each k would have given on a rollout dump
===============  ======================================================================================

It needs ``pip install 'verl-maxpo[evaluate]'`` and imports neither verl nor Ray.
"""
