"""Train one model on several hosts in step, over torch.distributed.

Hosts or GPUs either split the factors (`factor_kernel`, `gpu_factor_kernel`): they exchange
training rows ahead of a step, and margins in it. Or hosts split the features (`row_kernel`), each
with one owner (`ownership`): they fetch parameters from the owners and send gradients back. Only
`group` and `watch` know torch.distributed.
"""
