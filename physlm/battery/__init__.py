"""The battery: the four tasks of Part 3.2, asked of any language model, in texts and with exact graders.

    settings.py    who is asked about and what: ``Battery``
    wording.py     readable texts, what counts as the same answer, and which question a text is
    questions.py   the prompts with all right answers; biographies and questions to train on
    oracle.py      the same questions answered from the truth, a control
    index.py       an SQLite table of what a model told, which answers inverse questions
    grading.py     shares of right answers with 95 % intervals and controls
    card.py        one table, and a markdown card
    files.py       prompts, data for training and tasks for lm-evaluation-harness, as a folder; answers read from files
    causal.py      a model of transformers: what it answers, and how many bits of values it holds
    finetune.py    its training on the biographies and the questions, by the library's own trainer (extra ``battery``)
    measure.py     the index under a claim of the lab

Sources: arXiv 2309.14402 (the four tasks, and why inverse search needs help from outside of the model).
"""
