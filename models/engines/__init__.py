"""What runs the generator: PyTorch, or on a CPU OpenVINO.

generator.py         the interface: faces and mels in, faces out, whichever it is
choice.py            which engine is taken, decided without importing any
torch_engine.py      PyTorch, on any device
fixed_batches.py     PyTorch on a GPU: buffers that stay, a CUDA graph
openvino_engine.py   OpenVINO, on the CPU; what it has prepared is kept (store.py), so that PyTorch is not imported
conversion.py        weights to an OpenVINO model, by PyTorch
picture_generator.py the generator as other engines take it: uint8 pictures in, uint8 pictures out
quantization.py      its weights and activations in int8, calibrated on faces (calibration.npz) and checked on them
"""
