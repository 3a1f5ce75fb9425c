"""One model trained by several hosts in step, on torch.distributed.

Each feature's row has one owner (`ownership`), which alone keeps and updates it. A step fetches the
rows of a host's mini-batch from their owners and sends back gradients (`kernel`). Only `group` and
`watch` import torch.
"""
