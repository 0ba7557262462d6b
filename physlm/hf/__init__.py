"""Models in and out of Hugging Face's libraries: folders for ``AutoModelForCausalLM`` and ``AutoTokenizer``, models of
others under our measures, activations of any model for our probes.

``tokenizer`` reads our texts, ``stock`` and ``modeling_physlm`` are the two ways to write a model, ``folders`` puts
both together and reads them back, ``features`` gives activations to ``physlm.measures.probes.probe``.
transformers and tokenizers are imported when they are used (the extra ``hf``).
May import ``config``, ``rng``, ``tasks``, ``models``, ``training``, ``measures``.
"""
