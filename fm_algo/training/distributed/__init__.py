"""One model trained by several hosts in step, on torch.distributed.

Hosts, or GPUs, either split the factors (`factor_kernel`, `gpu_factor_kernel`) and exchange rows
ahead and margins in a step; or they split the features (`row_kernel`), each with one owner
(`ownership`), and fetch rows of parameters and send back gradients. Only `group` and `watch` know
torch.distributed.
"""
