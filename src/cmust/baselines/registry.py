"""Every other system there is: what it is called, who published it, how it is fed."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from cmust.errors import ConfigError


@dataclass(frozen=True)
class System:
    """A system.

    Its module, of the same name, has ``make(scene)`` and ``TRAINING``, its own settings of training; a classic one has
    ``best``.

    Attributes:
        name: of the module.
        label: for tables.
        source: who published it, where.
        together: takes several tasks at once, as channels of one task on one graph; otherwise one at a time.
        history_days, history_steps: looks back so far, where that is more than the windows' input steps.
        classic: fitted by a library instead of trained (``classic.py``).
        seeded: whether another seed makes another result.
    """

    name: str
    label: str
    source: str
    together: bool = False
    history_days: int = 0
    history_steps: int = 0
    classic: bool = False
    seeded: bool = True

    @property
    def module(self) -> ModuleType:
        """Where its network is."""
        return import_module(f"cmust.baselines.{self.name}")


SYSTEMS = {
    system.name: system
    for system in (
        System("residual_mlp", "small MLP over the weekly average", "ours; embeddings as in STID"),
        System("arima", "ARIMA", "Box and Jenkins, 1970", classic=True, seeded=False),
        System("svr", "SVR", "Drucker et al., NIPS 1996", classic=True),
        System("dcrnn", "DCRNN", "Li et al., ICLR 2018"),
        System("agcrn", "AGCRN", "Bai et al., NeurIPS 2020"),
        System("gwnet", "Graph WaveNet", "Wu et al., IJCAI 2019"),
        System("stgcn", "STGCN", "Yu et al., IJCAI 2018"),
        System("astgcn", "ASTGCN", "Guo et al., AAAI 2019"),
        System("gman", "GMAN", "Zheng et al., AAAI 2020"),
        System("sttn", "STTN", "Xu et al., arXiv 2001.02908"),
        System("mtgnn", "MTGNN", "Wu et al., KDD 2020", together=True),
        System("stid", "STID", "Shao et al., CIKM 2022"),
        System("staeformer", "STAEformer", "Liu et al., CIKM 2023"),
        System("step", "STEP", "Shao et al., KDD 2022", together=True, history_days=7),
        System("promptst", "PromptST", "Zhang et al., CIKM 2023", together=True),
        System("unist", "UniST", "Yuan et al., KDD 2024", together=True, history_days=3),
        System("unitime", "UniTime", "Liu et al., WWW 2024", together=True, history_steps=96),
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
