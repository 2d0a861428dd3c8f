"""The ways of adapting a base model that are compared: base, icl, sft, dpo.

The only home of trl. A method is one file here and one line in `catalog.py`.
"""
