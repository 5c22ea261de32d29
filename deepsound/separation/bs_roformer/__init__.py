"""BS-RoFormer, the band-split transformer that takes the voice out of a mix (Lu et al., arXiv 2309.02612)."""
