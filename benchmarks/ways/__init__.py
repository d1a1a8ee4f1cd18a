"""The ways to train that ``benchmarks/train.py`` compares."""

from benchmarks.ways.base import V1_5, Block, network
from benchmarks.ways.process import WayProcess
from benchmarks.ways.timm_way import has_timm

# In the order of the table.
WAYS = ("plain", "tuned", "torchvision", "timm", "ours", "ours_v1.5", "ceiling")

__all__ = ["V1_5", "WAYS", "Block", "WayProcess", "has_timm", "network"]
