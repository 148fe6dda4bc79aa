"""From data set to batch: images and labels, splits, what is trained on, augmentation."""
