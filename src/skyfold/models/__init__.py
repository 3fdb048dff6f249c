"""One file a family of networks; the file name is the name.

Each offers `build(*, input_shape, classes, **options) -> keras.Model`, whose output is float32 logits, (H, W, K) at
the input's own size or (K,); `check(options)`, which refuses wrong options without importing Keras; and
`input_scaling(options)`, the scaling of images (see data/scaling.py) that its pretrained weights were made for.
"""
