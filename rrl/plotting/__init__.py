"""Figures: one function each. They are readable in print, in grey and by the colour-blind."""
