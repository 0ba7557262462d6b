"""Models in and out of Hugging Face's libraries: folders for ``AutoModelForCausalLM`` and ``AutoTokenizer``, and models
of others under our measures.

``tokenizer`` reads our texts, ``convert`` makes a model of ours one of transformers and back, in one of its
``architectures``; ``modeling_physlm`` is the code of the one that is ours.  ``folders`` writes and reads all of it.
transformers and tokenizers are imported when they are used (the extra ``hf``).
May import ``config``, ``rng``, ``tasks``, ``models``, ``training``, ``measures``.
"""
