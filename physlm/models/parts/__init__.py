"""The parts of a model, one file each: mixers, MLPs, norms, local mixing, residual paths, routes, streams beside
each other; ``part`` says what a part is, ``weight`` what it consists of.

These tables are the one place to extend when a part joins the package: kind -> "module:Class".  A part that is defined
elsewhere, in the file of an experiment, needs no line here.
"""

MIXERS = {
    "attention": "physlm.models.parts.attention:Attention",
    "relative": "physlm.models.parts.relative:Relative",
    "position_only": "physlm.models.parts.positional:PositionOnly",
    "uniform": "physlm.models.parts.positional:Uniform",
    "mla": "physlm.models.parts.mla:MLA",
    "fox": "physlm.models.parts.fox:FoX",
    "path": "physlm.models.parts.path:PaTH",
    "linear": "physlm.models.parts.linear:LinearAttention",
    "gla": "physlm.models.parts.gla:GLA",
    "mamba2": "physlm.models.parts.mamba2:Mamba2",
    "deltanet": "physlm.models.parts.deltanet:DeltaNet",
    "gated_deltanet": "physlm.models.parts.gated_deltanet:GatedDeltaNet",
    "nsa": "physlm.models.parts.nsa:NSA",
    "simplicial": "physlm.models.parts.simplicial:Simplicial",
}
MLPS = {
    "plain": "physlm.models.parts.mlp:Plain",
    "gated": "physlm.models.parts.gated:Gated",
    "none": "physlm.models.parts.mlp:NoMLP",
    "moe": "physlm.models.parts.moe:MoE",
    "ngram": "physlm.models.parts.ngram:NGram",
}
NORMS = {
    "layernorm": "physlm.models.parts.norms:LayerNorm",
    "rmsnorm": "physlm.models.parts.norms:RMSNorm",
    "dyt": "physlm.models.parts.norms:DyT",
}
LOCALS = {
    "canon": "physlm.models.parts.canon:Canon",
    "nolocal": "physlm.models.parts.canon:NoLocal",
}
RESIDUALS = {
    "add": "physlm.models.parts.residual:Add",
    "hyper": "physlm.models.parts.residual:Hyper",
    "mhc": "physlm.models.parts.residual:ManifoldHyper",
}
ROUTES = {
    "all": "physlm.models.parts.route:AllTokens",
    "depths": "physlm.models.parts.route:MixtureOfDepths",
}
PARALLELS = {
    "one": "physlm.models.parts.parallel:OneStream",
    "parscale": "physlm.models.parts.parallel:ParScale",
}
