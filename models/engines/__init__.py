"""What runs the networks of a dub: PyTorch, or on a CPU OpenVINO.

generator.py         the interface of the generator: faces and mels in, faces out, whichever it is
networks.py          the same of expert and refiner: arrays in, arrays out
choice.py            which engine is taken, decided without importing any
torch_engine.py      the generator by PyTorch, on any device
torch_networks.py    expert and refiner by PyTorch
openvino_engine.py   all of them by OpenVINO, on the CPU, without PyTorch
store.py             what OpenVINO needs of weights, kept in the user's cache folder
prepare.py           makes that in a process of its own, by PyTorch (conversion.py)
picture_generator.py the generator as engines take it: uint8 pictures in, uint8 pictures out
array_networks.py    expert and refiner likewise
quantization.py      the generator in int8, calibrated on faces (calibration.npz) and checked on them
"""
