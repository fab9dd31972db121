//! flambeau: tensors, autograd, layers, data and vision behind one name
