"""Uni-CTR: one language model under the click-through networks of many scenarios (arXiv 2312.10743).

Letters beside those of services.ctr: B prompts, T tokens, D the language model's width, L its layers, F ladder points.

    prompt -> language model -> states (B, F, T, D) -> a network for each domain -> logits (B,)
                                                    -> the general network       -> logits (B,)

This file imports nothing, since `prompts` is read by processes without torch.
"""
