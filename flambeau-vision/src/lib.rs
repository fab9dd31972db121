//! flambeau's vision datasets, transforms, models and pictures
