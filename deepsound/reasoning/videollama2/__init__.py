"""VideoLLaMA2.1-AV, the multimodal language model behind the paper's chain of thought (arXiv 2406.07476)."""
