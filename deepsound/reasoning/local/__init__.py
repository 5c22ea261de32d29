"""What reasoners have in common whose networks run here: replies side by side, the answer's letter, fewer bits."""
