//! flambeau's tensors, operations and automatic differentiation
