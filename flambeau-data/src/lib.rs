//! flambeau's datasets, samplers and the DataLoader
