"""The report: the committed results as pages that people look at, on any machine, without a server or a script.

    results, experiments -> content (what is said) -> bars, curves, samples (what is drawn) -> build (pages, one file)

Templates lie in ``templates/``, the style sheet and the one script in ``static/``.
"""
