"""Every other system there is: what it is called, who published it, how it is fed."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from cmust.errors import ConfigError


@dataclass(frozen=True)
class System:
    """A system; its module, of the same name, has ``make(scene)`` and ``TRAINING``, its own settings of training.

    Attributes:
        name: of the module.
        label: for tables.
        source: who published it, where.
        together: takes several tasks at once, as channels of one task on one graph; otherwise one at a time.
        history_days: looks back so many days, where that is more than the windows' input steps.
    """

    name: str
    label: str
    source: str
    together: bool = False
    history_days: int = 0

    @property
    def module(self) -> ModuleType:
        """Where its network is."""
        return import_module(f"cmust.baselines.{self.name}")


SYSTEMS = {
    system.name: system
    for system in (
        System("residual_mlp", "small MLP over the weekly average", "ours; embeddings as in STID"),
        System("dcrnn", "DCRNN", "Li et al., ICLR 2018"),
        System("agcrn", "AGCRN", "Bai et al., NeurIPS 2020"),
        System("mtgnn", "MTGNN", "Wu et al., KDD 2020", together=True),
        System("stid", "STID", "Shao et al., CIKM 2022"),
        System("staeformer", "STAEformer", "Liu et al., CIKM 2023"),
    )
}


def find_system(name: str) -> System:
    """The system of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"unknown system {name!r}; choose among {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
