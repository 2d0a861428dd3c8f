"""medalign: does SFT, in-context learning or DPO serve my medical questions best, and is the difference real?

python -m medalign.compare --methods sft,icl,dpo
"""

__version__ = "0.1.0"
