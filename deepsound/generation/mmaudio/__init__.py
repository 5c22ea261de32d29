"""MMAudio: video and text to audio by flow matching (Cheng et al., CVPR 2025), in plain PyTorch."""
