"""Figures: one function each, readable in print, in grey and by the colour-blind."""
