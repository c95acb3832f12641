"""A model whose layers are spread over processes: each has a part of every weight, and all of it while it computes.

Knows torch's fully sharded data parallelism (ZeRO 3's partition, arXiv 1910.02054), and which weights it leaves alone:
embeddings, the last norm and the head lie outside the layers and are whole in every process. All processes compute the
same at the same time, so what each has of a gradient, of moments or of a step is its part of the one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipelines.core.errors import UserError
from pipelines.train.layers import layer_list


def shard(model: nn.Module) -> None:
    """Spread the layers of a whole model over the processes of this group, in place."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    try:
        layers = layer_list(model)
    except ValueError as error:
        raise UserError(f"probe.shards: {error}; leave it at 1") from error
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    # Not the model around them: a head is run without it. Without resharding, a layer would go on computing with
    # the weights from before a step.
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)


def mine(tensor: Tensor) -> Tensor:
    """This process's part, on the same memory; all of it where it is not spread."""
    part: Tensor = tensor.to_local() if _is_sharded(tensor) else tensor  # type: ignore[operator]
    return part


def part_of(whole: Tensor, parameter: Tensor) -> Tensor:
    """The part of a whole tensor that goes with this process's part of the parameter."""
    if not _is_sharded(parameter):
        return whole
    from torch.distributed.tensor import distribute_tensor

    spread = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)  # type: ignore[attr-defined]
    return spread.to_local().clone()  # not a view that keeps the whole alive


def total(sums: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
    """Sums over a parameter's elements, by its name, added up over all parameters and processes."""
    spread = [name for name in sums if _is_sharded(parameters[name])]
    whole = [value for name, value in sums.items() if name not in spread]
    if not spread:
        return torch.stack(whole).sum()
    import torch.distributed as dist

    everywhere = torch.stack([sums[name] for name in spread]).sum()
    dist.all_reduce(everywhere)
    return everywhere + sum(whole)


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "device_mesh")
