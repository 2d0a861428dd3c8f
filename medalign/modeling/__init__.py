"""Base models, adapters, and the two things a predictor does: score options and write text.

The only home of transformers, peft and bitsandbytes.
"""
