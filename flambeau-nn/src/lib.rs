//! flambeau's modules, losses and optimizers
