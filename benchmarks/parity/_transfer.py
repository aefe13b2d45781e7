"""Weights of one network put into another by the beginnings of their names, none left over on either side."""

from collections.abc import Callable

from torch import Tensor, nn

Turn = Callable[[Tensor], Tensor]


def transfer(
    theirs: dict[str, Tensor],
    ours: nn.Module,
    names: dict[str, str],
    dead: tuple[str, ...] = (),
    turn: dict[str, Turn] | None = None,
) -> None:
    """Copy the state ``theirs`` into ``ours``.

    Args:
        names: of theirs, whole or their beginning, to the same of ours; the longest that fits counts. Shapes may
            differ by axes of length 1.
        dead: beginnings of names of theirs that do not reach the output.
        turn: by the name of ours, what else has to be done to a weight.

    Raises:
        ValueError: a weight of theirs has no place, or one of ours got none or two.
    """
    target = ours.state_dict()
    waiting = set(target)
    for name, weight in theirs.items():
        if name.startswith(dead):
            continue
        fits = [start for start in names if name.startswith(start)]
        if not fits:
            raise ValueError(f"no place for {name} {tuple(weight.shape)}")
        start = max(fits, key=len)
        own = names[start] + name[len(start) :]
        if own not in waiting:
            raise ValueError(f"{name}: ours has no {own}, or it has its weight already")
        waiting.remove(own)
        weight = (turn or {}).get(own, lambda x: x)(weight)
        if [n for n in weight.shape if n > 1] != [n for n in target[own].shape if n > 1]:
            raise ValueError(f"{name} {tuple(weight.shape)} does not fit {own} {tuple(target[own].shape)}")
        target[own].copy_(weight.reshape(target[own].shape))
    if waiting:
        raise ValueError(f"without a weight: {sorted(waiting)}")
