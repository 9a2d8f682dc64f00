"""Evaluate runs from verl's dumps: unbiased pass@k and max@k with intervals, and which k to train with.

    verl-maxpo evaluate RUN [RUN ...] [--k 1 2 4 8] [--out DIR]
    verl-maxpo choose-k DUMP [DUMP ...] [--k 1 2 4 8] [--n 8 16]

===============  ======================================================================================
``dumps``        reads the dumps: a run is a folder of JSON lines
``names``        names of runs, and the label that all seeds of a run share
``settings``     what a run was trained with
``remarks``      warnings: what the dumps lack, or have twice
``estimates``    the statistics: estimates for each prompt, and intervals for their means
``comparison``   evaluates runs and compares them
``results``      what a comparison holds: estimates, averages over seeds, paired differences, notes
``tables``       shows it as tables, for the terminal, Markdown and HTML
``lines``        the lines that ``plots`` and ``figures`` draw, with their colours and markers
``plots``        draws a picture
``figures``      makes the HTML report's interactive figures, which Plotly draws
``problems``     how each problem changed between two runs, with its samples
``summary``      what was compared and what came out, in two lines
``report``       writes all of this to files; ``report.html.j2`` and ``report.js`` make the page
``choose_k``     what each k would have given on a rollout dump
===============  ======================================================================================

The package needs ``pip install 'verl-maxpo[evaluate]'`` and imports neither verl nor Ray.
"""
