"""One file a family of networks; the file name is the name.

Each offers `build(*, input_shape, classes, **options) -> keras.Model`, whose output is float32 logits, (H, W, K) at
the input's own size or (K,), or, of a network for forecasts, the values that its view asks for, (H, W, L); and
`check(options)`, which refuses wrong options without importing Keras. A family with pretrained weights takes them as
`encoder_weights` and says in `input_normalization(options)` which scaling (data/normalization.py) they were made for.
"""
