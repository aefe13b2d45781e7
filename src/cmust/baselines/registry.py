"""Every other system there is: what it is called, who published it, how it is fed."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from cmust.errors import ConfigError


@dataclass(frozen=True)
class System:
    """A system.

    Its module has ``make(scene)`` and ``TRAINING``, its own settings of training; a classic one has ``best``.

    Attributes:
        name: of the module, here or, with a dot in it, of a user's own.
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
        return import_module(self.name if is_own(self.name) else f"cmust.baselines.{self.name}")


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


def is_own(name: str) -> bool:
    """Whether it is the dotted name of a user's own module. Nothing is imported."""
    return "." in name


def check_name(name: str) -> None:
    """See that a system may have this name. Nothing is imported: the name may come from a file.

    Raises:
        ConfigError: it is neither one of ours nor dotted.
    """
    if name not in SYSTEMS and not is_own(name):
        raise ConfigError(
            f"unknown system {name!r}; choose among {', '.join(SYSTEMS)}, or name a module of your own (package.module)"
        )


def find_system(name: str) -> System:
    """The system of a name; of a dotted one the module is imported, so that it has to be the user's wish.

    Raises:
        ConfigError: there is none; or a module of one's own cannot be imported, or lacks ``make`` or ``TRAINING``.
    """
    check_name(name)
    return _own(name) if is_own(name) else SYSTEMS[name]


def _own(name: str) -> System:
    """A user's own system: its label is its name, it takes one task at a time."""
    system = System(name, name, "yours")
    try:
        module = system.module
    except Exception as error:  # whatever the user's code stumbles over
        raise ConfigError(
            f"cannot import the system {name} ({type(error).__name__}: {error}); install its package, or put the "
            f"folder that holds it on PYTHONPATH"
        ) from error
    for wanted, fits in (("make", callable), ("TRAINING", lambda found: isinstance(found, dict))):
        if not fits(getattr(module, wanted, None)):
            raise ConfigError(
                f"{name} ({module.__file__}) is no system: it has no {wanted}; a system is a module with a function "
                f"make(scene) and a dictionary TRAINING (docs/baselines.md)"
            )
    return system
