"""The configuration of a training run: its checked options, identity, name and folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analyze.errors import UsageError
from experiments import combinations, suggestions, values
from experiments.catalogue import DATASETS
from experiments.identity import names_of_images
from experiments.options import BOOKKEEPING, Options, convert, kinds, marks, neutral_values
from experiments.values import Mark, Rule, flag


@dataclass(frozen=True, kw_only=True)
class RunConfig(Options):
    """Train one ResNet with one loss, and write a run folder.

    The same command again continues a run that was stopped, and leaves a finished one alone.
    """

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UsageError: naming the option, the rule and the value.
        """
        for name in kinds():
            for rule in marks(name):
                if isinstance(rule, Rule):
                    rule.require(name, getattr(self, name))
        values.parse_interval(self.checkpoint_every)
        values.parse_milestones(self.milestones, self.epochs)
        values.parse_class_weights(self.class_weights)
        values.parse_head(self.head)
        combinations.check(self)

    @property
    def data_seed(self) -> int:
        """The seed of the choices of images and labels: ``split_seed``, or ``seed`` for -1."""
        return values.data_seed(self.split_seed, self.seed)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RunConfig:
        """Create a configuration from the names and values of a command line or study file.

        Raises:
            UsageError: on an unknown name, or a value of the wrong type or out of range.
        """
        for name in options:
            if name not in kinds():
                hint = suggestions.for_option(name, kinds())
                said = f"unknown option {flag(name)}{hint} (python train.py --help lists all)"
                raise UsageError(said, name)
        return cls(**{name: convert(name, value) for name, value in options.items()})

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The names that identify the images: today's, then those of earlier versions."""
        return names_of_images(self.dataset, self.data_dir, self.output / self.study)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of this run: today's, then those of earlier versions."""
        options = self.identity()
        texts = (json.dumps(options | {"data_dir": i}, sort_keys=True) for i in self.images)
        return tuple(hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the options that determine the result."""
        return self.hashes[0]

    @property
    def run_name(self) -> str:
        """``--name``, or a readable and unique name."""
        return self.folder.name

    @cached_property
    def folder(self) -> Path:
        """The folder of this run's files, also if an earlier version has made it."""
        label = re.sub(r"[^\w.=+*,-]+", "_", f"{self.model}-{self.loss}")[:120]
        # Cut by bytes, too: a loss may have a Greek name, with two bytes a letter.
        label = label.encode()[: values.LONGEST_NAME - 35].decode(errors="ignore")
        names = [self.name] if self.name else [f"{label}-s{self.seed}-{h}" for h in self.hashes]
        places = [self.output / self.study / name for name in names]
        return next((p for p in places if os.path.exists(p)), places[0])  # noqa: PTH110 (raises nothing)

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values; data_dir names the images."""
        options = self.to_dict() | {"data_dir": self.images[0]}
        neutral = neutral_values()
        if self.class_weights == "none":  # so that a grid may have none among its class weights
            options["class_weights_from"] = neutral["class_weights_from"]
        return {
            name: value
            for name, value in options.items()
            if name not in BOOKKEEPING and not (name in neutral and neutral[name] == value)
        }

    def differences(self, described: Mapping[str, Any]) -> list[str]:
        """The options that determine the result and differ from a run's config.json."""
        before = neutral_values() | described.get("config", {})
        place = described.get("images") or before.get("data_dir")
        now = neutral_values() | self.identity()
        if place in self.images or not DATASETS[self.dataset].own:
            place = now["data_dir"]
        before["data_dir"] = place
        return [
            f"{flag(name)} {before.get(name)!s} -> {now[name]!s}"
            for name in now
            if before.get(name) != now[name]
        ]

    def unlearned(self) -> list[str]:
        """The options that do not affect what the model learns, for the comparison of runs."""
        own = DATASETS[self.dataset].own
        judging = [name for name in kinds() if Mark.JUDGES in marks(name)]
        return sorted([*BOOKKEEPING, *judging, *([] if own else ["data_dir"])])

    def to_dict(self) -> dict[str, Any]:
        """All options, as JSON values."""
        options = ((name, getattr(self, name)) for name in kinds())
        return {name: str(v) if isinstance(v, Path) else v for name, v in options}
